"""Audio files: listing a folder of them, and reading one, whole or in part.

Free of TensorFlow, for programs that only read audio.

Axes: N samples.
"""

import dataclasses
import math
import pathlib

import numpy as np
import soundfile
import soxr
from jaxtyping import Float, Int16

SUFFIXES = (".wav", ".flac", ".ogg", ".mp3")

# Context read on both sides of an excerpt that is resampled, in seconds: it
# covers the resampler's impulse response.
_MARGIN = 0.05


@dataclasses.dataclass(frozen=True)
class AudioFile:
  """One recording of a folder.

  Attributes:
    path: the file.
    id: its path below the folder, without suffix, with forward slashes; for
      the LibriSpeech layout only the file's stem, which is unique there.
    speaker: from the LibriSpeech layout, or the name of the parent folder.
  """

  path: pathlib.Path
  id: str
  speaker: str


def find_audio(folder: str | pathlib.Path) -> list[AudioFile]:
  """Lists the audio files below a folder, sorted by path.

  In the LibriSpeech layout SPEAKER/CHAPTER/SPEAKER-CHAPTER-NUMBER.flac the
  speaker is the first part; elsewhere it is the name of the parent folder.

  Raises:
    ValueError: there is no such folder, or no audio in it.
  """
  folder = pathlib.Path(folder)
  if not folder.is_dir():
    raise ValueError(f"no such folder of audio: {folder}")
  files = []
  for path in sorted(folder.rglob("*")):
    if path.suffix.lower() not in SUFFIXES:
      continue
    chapter, speaker = path.parent.name, path.parent.parent.name
    if path.stem.startswith(f"{speaker}-{chapter}-"):
      files.append(AudioFile(path, path.stem, speaker))
    else:
      name = path.relative_to(folder).with_suffix("").as_posix()
      files.append(AudioFile(path, name, chapter))
  if not files:
    raise ValueError(f"no {', '.join(SUFFIXES)} files below {folder}")
  return files


def audio_length(path: str | pathlib.Path, sample_rate: int) -> int:
  """Samples of a file at `sample_rate`, from its header.

  Raises:
    ValueError: the file cannot be read as audio.
  """
  try:
    info = soundfile.info(str(path))
  except (soundfile.SoundFileError, OSError) as error:
    raise ValueError(f"cannot read {path}: {error}") from error
  return math.ceil(info.frames * sample_rate / info.samplerate)


def read_audio(
  path: str | pathlib.Path,
  sample_rate: int,
  *,
  start: int = 0,
  length: int | None = None,
) -> Float[np.ndarray, "N"]:
  """Reads a file as mono at a given rate.

  Args:
    path: wav, flac, ogg or mp3, of any rate and number of channels.
    sample_rate: of the result, in Hz.
    start: first sample wanted, counted at `sample_rate`.
    length: samples wanted, counted at `sample_rate`; all that follow if None.

  Returns:
    float32 samples, nominally in [-1, 1]; fewer than `length` where the file
    ends.

  Raises:
    ValueError: the file cannot be read as audio, holds no samples at all, or
      holds samples that are not finite.
  """
  try:
    with soundfile.SoundFile(str(path)) as file:
      audio = _read_excerpt(file, sample_rate, start, length)
  except (soundfile.SoundFileError, OSError) as error:
    raise ValueError(f"cannot read {path}: {error}") from error
  if not start and not audio.size:
    raise ValueError(f"no samples in {path}")
  if not np.isfinite(audio).all():
    raise ValueError(f"samples that are not finite in {path}")
  return audio


def to_int16(audio: Float[np.ndarray, "N"]) -> Int16[np.ndarray, "N"]:
  """Samples in [-1, 1], times 32767; others are clipped."""
  return np.round(np.clip(audio, -1, 1) * 32767).astype(np.int16)


def _read_excerpt(
  file: soundfile.SoundFile, sample_rate: int, start: int, length: int | None
) -> np.ndarray:
  native = file.samplerate
  if native == sample_rate:
    return _mono(file, start, length)
  # Both rates meet every `grid` native samples: starting there, the excerpt's
  # samples fall at the same instants as the whole file's would.
  grid = native // math.gcd(native, sample_rate)
  first = start * native // sample_rate - math.ceil(_MARGIN * native)
  first = max(0, first) // grid * grid
  frames = None
  if length is not None:
    last = math.ceil((start + length) * native / sample_rate)
    frames = last + math.ceil(_MARGIN * native) - first
  audio = soxr.resample(_mono(file, first, frames), native, sample_rate)
  skip = start - first * sample_rate // native
  return audio[skip : None if length is None else skip + length]


def _mono(
  file: soundfile.SoundFile, start: int, frames: int | None
) -> np.ndarray:
  skip = 0
  if file.format == "MP3":
    # A frame of MP3 borrows bits of earlier ones, so a seek lands in frames
    # that cannot be decoded yet: read from the beginning instead.
    skip = start
  else:
    file.seek(min(start, file.frames))
  audio = file.read(
    -1 if frames is None else skip + frames, dtype="float32", always_2d=True
  )
  return audio[skip:].mean(axis=1, dtype=np.float32)
