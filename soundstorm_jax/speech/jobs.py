"""What to generate: requests by name, and where their tokens come from.

A job names a content (what is said) and a prompt (whose voice); a library has
the tokens of either, from audio files or from a token dataset.

Axes: S semantic tokens, T frames, Q levels.
"""

import csv
import pathlib
from collections.abc import Iterable
from typing import NamedTuple, Protocol, runtime_checkable

from soundstorm_jax.data.audio_files import find_audio, read_audio
from soundstorm_jax.speech.model import SpeechModel
from soundstorm_jax.speech.requests import SpeechTokens


class Job(NamedTuple):
  """A request by name.

  Attributes:
    id: names the files that it gives.
    content: what is said: a record or a file.
    prompt: whose voice, likewise; "" for none.
    seed: of the noise.
  """

  id: str
  content: str
  prompt: str = ""
  seed: int = 0


@runtime_checkable
class Library(Protocol):
  """Where tokens come from by name."""

  def tokens(self, name: str) -> SpeechTokens:
    """Tokens of one recording.

    Raises:
      ValueError: there is none, or it cannot be read.
    """


class AudioLibrary:
  """Audio files, by path."""

  def __init__(self, model: SpeechModel):
    self._model = model

  def tokens(self, name: str) -> SpeechTokens:
    """See `Library`."""
    rate = self._model.sample_rate
    return self._model.encode(read_audio(name, rate), rate)


class TokenLibrary:
  """The records of a token dataset, by id.

  Attributes:
    ids: of all records, in their order.

  Raises:
    ValueError: no such dataset or split, or other tokenizers than the model's
      made it.
  """

  def __init__(
    self, path: str | pathlib.Path, *, split: str, model: SpeechModel
  ):
    from soundstorm_jax.data.records import TokenRecords

    self._records = TokenRecords(path, split=split)
    metadata = self._records.metadata
    for kind, made_by in (
      ("soundstream", metadata.codec_fingerprint),
      ("semantic", metadata.semantic_fingerprint),
    ):
      if made_by != model.fingerprints[kind]:
        raise ValueError(
          f"{path} was made by {kind} weights {made_by}, the model has "
          f"{model.fingerprints[kind]}"
        )
    self._levels = model.config.levels
    count = len(self._records)
    self._numbers = {self._records[n].id: n for n in range(count)}
    self.ids = list(self._numbers)

  def tokens(self, name: str) -> SpeechTokens:
    """See `Library`."""
    if name not in self._numbers:
      raise ValueError(f"no record {name!r} in the token dataset")
    example = self._records[self._numbers[name]]
    return SpeechTokens(example.semantic, example.acoustic[:, : self._levels])


def audio_jobs(
  paths: Iterable[str | pathlib.Path], *, prompt: str = "", seed: int = 0
) -> list[Job]:
  """Requests for files and for all audio below folders.

  Raises:
    ValueError: a folder without audio.
  """
  jobs = []
  for path in map(pathlib.Path, paths):
    if path.is_dir():
      jobs += [Job(f.id, str(f.path), prompt, seed) for f in find_audio(path)]
    else:
      jobs.append(Job(path.stem, str(path), prompt, seed))
  return jobs


def manifest_jobs(
  manifest: str | pathlib.Path,
  *,
  folder: str | pathlib.Path | None = None,
  seed: int = 0,
) -> list[Job]:
  """Requests of a CSV file.

  Args:
    manifest: with the columns content, and maybe prompt, seed and id.
    folder: that the names are paths in; None if they are no paths.
    seed: where the manifest has none.

  Raises:
    ValueError: no such file, or not such columns or seeds.
  """
  manifest = pathlib.Path(manifest)
  if not manifest.is_file():
    raise ValueError(f"no such manifest: {manifest}")

  def resolve(name: str) -> str:
    return str(pathlib.Path(folder) / name) if folder and name else name

  jobs = []
  with manifest.open(newline="", encoding="utf-8") as file:
    reader = csv.DictReader(file)
    if "content" not in (reader.fieldnames or ()):
      raise ValueError(f"{manifest} lacks the column content")
    for row in reader:
      content, prompt = row["content"], row.get("prompt") or ""
      number = row.get("seed") or seed
      stems = [pathlib.PurePosixPath(n).stem for n in (content, prompt) if n]
      try:
        number = int(number)
      except ValueError:
        raise ValueError(
          f"seed must be a whole number, got {number!r} in {manifest}"
        ) from None
      name = row.get("id") or "_as_".join(stems)
      jobs.append(Job(name, resolve(content), resolve(prompt), number))
  return jobs


def check_ids(jobs: Iterable[Job]) -> None:
  """Refuses ids that cannot name files, each its own.

  Raises:
    ValueError: naming the id.
  """
  seen = set()
  for job in jobs:
    path = pathlib.PurePosixPath(job.id)
    if not job.id or path.is_absolute() or ".." in path.parts:
      raise ValueError(f"an id must name a file below OUTPUT, got {job.id!r}")
    if job.id in seen:
      raise ValueError(f"two requests have the id {job.id!r}")
    seen.add(job.id)
