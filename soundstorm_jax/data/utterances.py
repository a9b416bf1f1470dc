"""What to tokenise: recordings with their speakers, texts and splits.

Either a folder alone, with LibriSpeech's transcripts (*.trans.txt beside the
audio, a line of id and text for each file) where there are any, or a folder
and a manifest: CSV with the columns path, speaker, text and, if wanted, split.
"""

import csv
import dataclasses
import pathlib
from collections import Counter
from collections.abc import Collection

from soundstorm_jax.data.audio_files import AudioFile, find_audio

SPLITS = ("train", "test")


@dataclasses.dataclass(frozen=True)
class Utterance:
  """One recording; `split` is "train" or "test"."""

  path: pathlib.Path
  id: str
  speaker: str
  text: str
  split: str


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
