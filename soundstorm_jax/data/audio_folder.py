"""Folders of audio, cut into segments: what all audio sources share.

An example is a pair (file, segment), where a file has as many segments as
windows fit into it, so that an hour of speech is drawn as often as any other
hour however it is cut into files. The window starts at a random place within
its segment.

Axes: B batch, N samples of a window.
"""

import pathlib
from collections.abc import Iterator, Sequence
from concurrent import futures

import numpy as np
from jaxtyping import Float

from soundstorm_jax.config import DataConfig
from soundstorm_jax.data.audio_files import (
  AudioFile,
  audio_length,
  find_audio,
  read_audio,
  to_int16,
)
from soundstorm_jax.data.positions import host_slice


class AudioFolder:
  """The recordings of one folder or several, but for training batches.

  The held-out speakers of the config are evaluated on, and never trained on.

  Args:
    config: folders, window, held-out speakers.
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
    config: DataConfig,
    sample_rate: int,
    *,
    batch_size: int,
    seed: int,
    process_index: int = 0,
    process_count: int = 1,
  ):
    self._hosts = host_slice(
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
    folders = [path for path in config.path.split(",") if path]
    if not folders:
      raise ValueError("no folder of audio is named")
    files = [file for folder in folders for file in find_audio(folder)]
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
        self._example(self.eval_files[k % len(self.eval_files)], 0)
        for k in self._hosts.positions(batch)
      ]
      yield {name: np.stack([row[name] for row in rows]) for name in rows[0]}

  def crops(self) -> Iterator[Float[np.ndarray, "N"]]:
    """Every training window once, in a random order; N varies up to the window.

    Unlike batches, utterances shorter than the window have no zeros added.
    """
    random = np.random.default_rng(self._seed)
    for entry in random.permutation(self.examples_per_epoch):
      file, start = self._locate(int(entry), random.random())
      yield self._crop(file.path, start)

  def held_out_crops(self) -> Iterator[Float[np.ndarray, "N"]]:
    """The first window of every held-out utterance; N varies."""
    for file in self.eval_files:
      yield self._crop(file.path, 0)

  def _locate(self, entry: int, fraction: float) -> tuple[AudioFile, int]:
    """File and first sample of a segment's window, `fraction` into its room."""
    index = int(np.searchsorted(self._starts, entry, side="right")) - 1
    segment = entry - int(self._starts[index])
    segments = int(self._starts[index + 1] - self._starts[index])
    room = max(0, int(self._lengths[index]) - self.window)
    start = int((segment + fraction) / segments * (room + 1))
    return self.train_files[index], start

  def _example(self, file: AudioFile, start: int) -> dict[str, np.ndarray]:
    """The window from a sample on, zeros behind it where the file ends."""
    audio = self._crop(file.path, start)
    return {"audio": np.pad(audio, (0, self.window - audio.size))}

  def _crop(self, path: pathlib.Path, start: int) -> np.ndarray:
    if not self._config.cache:
      return read_audio(
        path, self._sample_rate, start=start, length=self.window
      )
    if path not in self._cache:
      self._cache[path] = to_int16(read_audio(path, self._sample_rate))
    audio = self._cache[path][start : start + self.window]
    return audio.astype(np.float32) / 32767


def _alternate_speakers(files: Sequence[AudioFile]) -> list[AudioFile]:
  """Orders files so that speakers take turns, keeping each one's order."""
  turns: dict[str, int] = {}
  ranked = []
  for file in files:
    turn = turns[file.speaker] = turns.get(file.speaker, 0) + 1
    ranked.append((turn, file.speaker, file))
  return [file for _, _, file in sorted(ranked, key=lambda r: r[:2])]
