"""What to tokenise: recordings with their speakers, texts and splits.

Either a folder alone, with LibriSpeech's transcripts (*.trans.txt beside the
audio, a line of id and text for each file) where there are any, or a folder
and a manifest: CSV with the columns path, speaker, text and, if wanted, split.
"""

import csv
import dataclasses
import itertools
import pathlib
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence

from soundstorm_jax.data.audio_files import AudioFile, find_audio

SPLITS = ("train", "test")


@dataclasses.dataclass(frozen=True)
class Utterance:
  """One recording; `split` is "train" or "test".

  Played at a `speed` other than 1 its pitch and formants move too, so that it
  is another voice.
  """

  path: pathlib.Path
  id: str
  speaker: str
  text: str
  split: str
  speed: float = 1.0


def find_utterances(
  folder: str | pathlib.Path,
  *,
  manifest: str | pathlib.Path = "",
  held_out_speakers: Collection[str] = (),
) -> list[Utterance]:
  """Lists recordings, sorted by id.

  Args:
    folder: of the audio; a manifest's paths are relative to it.
    manifest: a CSV file; only what it lists counts.
    held_out_speakers: go to the split "test", the others to "train", except
      where the manifest has a split.

  Raises:
    ValueError: no audio, an unknown held-out speaker, a manifest without the
      columns or with another split, or two recordings of one id.
  """
  if manifest:
    found = _from_manifest(pathlib.Path(folder), pathlib.Path(manifest))
  else:
    texts = _transcripts(pathlib.Path(folder))
    found = [
      _utterance(file, text=texts.get(file.id, ""), split="")
      for file in find_audio(folder)
    ]
  unknown = set(held_out_speakers) - {u.speaker for u in found}
  if unknown:
    raise ValueError(
      f"held_out_speakers not in {folder}: {', '.join(sorted(unknown))}"
    )
  (repeated, count), *_ = Counter(u.id for u in found).most_common(1)
  if count > 1:
    raise ValueError(f"{count} recordings have the id {repeated!r}")
  return sorted(
    (
      dataclasses.replace(
        u, split="test" if u.speaker in held_out_speakers else "train"
      )
      if not u.split
      else u
      for u in found
    ),
    key=lambda u: u.id,
  )


def at_speeds(
  utterances: Sequence[Utterance], speeds: Sequence[float]
) -> list[Utterance]:
  """Training utterances once at each speed, the others as they are.

  A copy at another speed is another speaker's, SPEAKER@SPEED.

  Raises:
    ValueError: no speed, one outside 0.5 to 2, or one twice.
  """
  if not speeds:
    raise ValueError("speeds must name at least one, got none")
  for speed in speeds:
    if not 0.5 <= speed <= 2:
      raise ValueError(f"speeds must be in [0.5, 2], got {speed}")
  if len(set(speeds)) < len(speeds):
    raise ValueError(f"speeds must differ, got {tuple(speeds)}")
  copies = [
    dataclasses.replace(
      u, id=f"{u.id}@{speed}", speaker=f"{u.speaker}@{speed}", speed=speed
    )
    if speed != 1
    else u
    for u in utterances
    if u.split == "train"
    for speed in speeds
  ]
  return copies + [u for u in utterances if u.split != "train"]


def join(
  utterances: Sequence[Utterance],
  seconds: Mapping[str, float],
  *,
  longest: float,
) -> Iterator[list[Utterance]]:
  """Training utterances that follow one another, as long as they may get.

  What is in one folder is taken for cuts of one recording, in the order of
  their ids. Held-out utterances stay alone.

  Args:
    utterances: with their speakers and splits.
    seconds: of each, by id.
    longest: that utterances are joined to; one that is longer stays alone.
  """

  def source(u: Utterance) -> tuple:
    return u.split, u.speaker, u.path.parent

  ordered = sorted(utterances, key=lambda u: (source(u), u.id))
  for (split, *_), group in itertools.groupby(ordered, key=source):
    joined: list[Utterance] = []
    length = 0.0
    for utterance in group:
      too_long = length + seconds[utterance.id] > longest
      if joined and (too_long or split != "train"):
        yield joined
        joined, length = [], 0.0
      joined.append(utterance)
      length += seconds[utterance.id]
    yield joined


def _utterance(file: AudioFile, *, text: str, split: str) -> Utterance:
  return Utterance(file.path, file.id, file.speaker, text, split)


def _transcripts(folder: pathlib.Path) -> dict[str, str]:
  texts = {}
  for path in sorted(folder.rglob("*.trans.txt")):
    for line in path.read_text(encoding="utf-8").splitlines():
      name, _, text = line.strip().partition(" ")
      texts[name] = text
  return texts


def _from_manifest(
  folder: pathlib.Path, manifest: pathlib.Path
) -> list[Utterance]:
  if not manifest.is_file():
    raise ValueError(f"no such manifest: {manifest}")
  with manifest.open(newline="", encoding="utf-8") as file:
    reader = csv.DictReader(file)
    missing = {"path", "speaker", "text"} - set(reader.fieldnames or ())
    if missing:
      raise ValueError(
        f"{manifest} lacks the columns {', '.join(sorted(missing))}"
      )
    rows = list(reader)
  if not rows:
    raise ValueError(f"{manifest} lists nothing")
  found = []
  for row in rows:
    split = row.get("split") or ""
    if split not in ("", *SPLITS):
      raise ValueError(
        f"split must be train or test, got {split!r} for {row['path']} in "
        f"{manifest}"
      )
    name = pathlib.PurePosixPath(row["path"]).with_suffix("").as_posix()
    file = AudioFile(folder / row["path"], name, row["speaker"])
    found.append(_utterance(file, text=row["text"] or "", split=split))
  return found
