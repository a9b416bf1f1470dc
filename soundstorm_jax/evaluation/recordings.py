"""Which recordings of a folder are judged."""

import pathlib
from collections.abc import Sequence

from soundstorm_jax.data.audio_files import AudioFile, find_audio


def choose_audio(
  folder: str | pathlib.Path,
  *,
  speakers: Sequence[str] = (),
  per_speaker: int | None = None,
) -> list[AudioFile]:
  """The recordings to judge.

  Args:
    folder: see `find_audio`.
    speakers: all if empty.
    per_speaker: at most so many of each, evenly spaced in the order of names.

  Raises:
    ValueError: no audio, an unknown speaker, or per_speaker below 1.
  """
  if per_speaker is not None and per_speaker < 1:
    raise ValueError(
      f"max_utterances_per_speaker must be at least 1, got {per_speaker}"
    )
  by_speaker: dict[str, list[AudioFile]] = {}
  for file in find_audio(folder):
    by_speaker.setdefault(file.speaker, []).append(file)
  unknown = set(speakers) - set(by_speaker)
  if unknown:
    raise ValueError(f"speakers not in {folder}: {', '.join(sorted(unknown))}")
  chosen = []
  for speaker in speakers or by_speaker:
    files = by_speaker[speaker]
    count = min(per_speaker or len(files), len(files))
    chosen += [files[n * len(files) // count] for n in range(count)]
  return chosen
