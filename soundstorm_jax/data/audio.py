"""Audio files: reading one, listing a folder, and windows for codec training.

`AudioSource` feeds the codec: a position (see pipeline.py) names a pair
(file, segment), where a file has as many segments as windows fit into it, so
that an hour of speech is drawn as often as any other hour however it is cut
into files. The window starts at a random place within its segment.

Axes: B batch, N samples of a window.
"""

import dataclasses
import math
import pathlib
from collections.abc import Iterator, Sequence
from concurrent import futures

import numpy as np
import soundfile
import soxr
import tensorflow as tf
from jaxtyping import Float

from soundstorm_jax import config as config_lib
from soundstorm_jax.data import pipeline

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


class AudioSource:
  """Batches of fixed-length windows from a folder of audio.

  The held-out speakers of the config are evaluated on, and never trained on.

  Args:
    config: folder, window, held-out speakers.
    sample_rate: of the batches, in Hz.
    batch_size: global, over all hosts.
    seed: decides order and crops.
    process_index: this host.
    process_count: hosts.

  Raises:
    ValueError: no audio, an unreadable file, an unknown held-out speaker, no
      speaker left for training, or hosts that do not divide the batch.
  """

  def __init__(
    self,
    config: config_lib.DataConfig,
    sample_rate: int,
    *,
    batch_size: int,
    seed: int,
    process_index: int = 0,
    process_count: int = 1,
  ):
    self._hosts = pipeline.host_slice(
      batch_size, process_index=process_index, process_count=process_count
    )
    self._config = config
    self._sample_rate = sample_rate
    self._seed = seed
    self.window = round(config.window_seconds * sample_rate)
    if self.window < 1:
      raise ValueError(
        f"window_seconds must be at least one sample at {sample_rate} Hz, got "
        f"{config.window_seconds}"
      )
    files = find_audio(config.path)
    held_out = set(config.held_out_speakers)
    unknown = held_out - {file.speaker for file in files}
    if unknown:
      raise ValueError(
        f"held_out_speakers not in {config.path}: {', '.join(sorted(unknown))}"
      )
    self.train_files = [f for f in files if f.speaker not in held_out]
    self.eval_files = _alternate_speakers(
      [f for f in files if f.speaker in held_out]
    )
    if not self.train_files:
      raise ValueError(f"held_out_speakers leave no audio in {config.path}")
    with futures.ThreadPoolExecutor(config.workers) as pool:
      lengths = pool.map(
        lambda file: audio_length(file.path, sample_rate), self.train_files
      )
      self._lengths = np.fromiter(lengths, np.int64)
    counts = np.maximum(1, -(-self._lengths // self.window))
    # The segments of file i are numbered from starts[i] to starts[i + 1].
    self._starts = np.concatenate([[0], np.cumsum(counts)])
    self._cache: dict[pathlib.Path, np.ndarray] = {}

  @property
  def seconds(self) -> float:
    """Seconds of audio to train on."""
    return float(self._lengths.sum()) / self._sample_rate

  @property
  def examples_per_epoch(self) -> int:
    """Windows that the training audio is cut into."""
    return int(self._starts[-1])

  def train_batches(
    self, start_step: int = 0
  ) -> Iterator[dict[str, Float[np.ndarray, "B N"]]]:
    """Endless batches {'audio': (rows of this host, N) float32}.

    Utterances shorter than the window are followed by zeros.

    Args:
      start_step: batches to pass over; costs nothing.
    """

    def plan(position: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
      entry = pipeline.shuffled_index(
        position, size=self.examples_per_epoch, seed=self._seed
      )
      return entry, pipeline.uniform(position, 1, seed=self._seed)[0]

    return pipeline.train_batches(
      self._load,
      plan,
      {"audio": tf.TensorSpec([self.window], tf.float32)},
      hosts=self._hosts,
      start_step=start_step,
      workers=self._config.workers,
    )

  def eval_batches(self) -> Iterator[dict[str, Float[np.ndarray, "B N"]]]:
    """The first window of held-out utterances, always the same.

    Speakers take turns. At most `config.eval_batches` batches; none without
    held-out speakers. Utterances that do not fill a batch are left out, but
    where there are fewer than one batch, they are repeated to fill it.
    """
    if not self.eval_files:
      return
    batches = len(self.eval_files) // self._hosts.batch_size
    batches = max(1, min(batches, self._config.eval_batches))
    for batch in range(batches):
      rows = [
        self._window(self.eval_files[k % len(self.eval_files)].path, 0)
        for k in self._hosts.positions(batch)
      ]
      yield {"audio": np.stack(rows)}

  def _load(self, entry: np.int64, fraction: np.float64) -> dict:
    index = int(np.searchsorted(self._starts, entry, side="right")) - 1
    segment = entry - self._starts[index]
    segments = self._starts[index + 1] - self._starts[index]
    room = max(0, self._lengths[index] - self.window)
    start = int((segment + fraction) / segments * (room + 1))
    return {"audio": self._window(self.train_files[index].path, start)}

  def _window(self, path: pathlib.Path, start: int) -> np.ndarray:
    if self._config.cache:
      if path not in self._cache:
        audio = read_audio(path, self._sample_rate)
        audio = np.round(np.clip(audio, -1, 1) * 32767)
        self._cache[path] = audio.astype(np.int16)
      audio = self._cache[path][start : start + self.window]
      audio = audio.astype(np.float32) / 32767
    else:
      audio = read_audio(
        path, self._sample_rate, start=start, length=self.window
      )
    window = np.zeros(self.window, np.float32)
    window[: audio.size] = audio
    return window


def _alternate_speakers(files: Sequence[AudioFile]) -> list[AudioFile]:
  """Orders files so that speakers take turns, keeping each one's order."""
  turns: dict[str, int] = {}
  ranked = []
  for file in files:
    turn = turns[file.speaker] = turns.get(file.speaker, 0) + 1
    ranked.append((turn, file.speaker, file))
  return [file for _, _, file in sorted(ranked, key=lambda r: r[:2])]
