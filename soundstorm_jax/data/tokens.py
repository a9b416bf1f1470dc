"""Windows of tokens for training SoundStorm, by integer position.

A position (see pipeline.py) names an utterance; every epoch has each once. A
window of random length, in the paper U[0, 30] seconds, is cut at a random
place. Semantic tokens are repeated to the frame rate and repeated neighbours
stay (SoundStorm section 3.1): frame t has token floor(t * semantic rate /
frame rate).

Axes: B batch, T frames of the longest window, S semantic tokens, Q levels.
"""

from collections.abc import Iterator

import numpy as np
import tensorflow as tf
from jaxtyping import Shaped

from soundstorm_jax import config as config_lib
from soundstorm_jax.data import pipeline
from soundstorm_jax.data.rates import repeat_to_frames
from soundstorm_jax.data.records import JoinedRecords
from soundstorm_jax.data.token_dataset import TokenExample, TokenMetadata


def check_example(example: TokenExample, metadata: TokenMetadata) -> None:
  """Refuses an utterance that a model could not take.

  Raises:
    ValueError: ids out of range, another number of levels, or no frame; the
      message names the record.
  """
  frames, levels = example.acoustic.shape
  if levels != metadata.levels:
    raise ValueError(
      f"record {example.id!r} has {levels} levels, not {metadata.levels}"
    )
  if not frames:
    raise ValueError(f"record {example.id!r} has no frames")
  for name, ids, limit in (
    ("acoustic", example.acoustic, metadata.codes),
    ("semantic", example.semantic, metadata.semantic_vocab),
  ):
    bad = ids[(ids < 0) | (ids >= limit)]
    if bad.size:
      raise ValueError(
        f"record {example.id!r} has {name} id {bad[0]}, not in [0, {limit})"
      )


class TokenSource:
  """Batches of token windows, padded to one length.

  A batch is {'semantic': (B, T), 'acoustic': (B, T, Q), 'valid': (B, T)} with
  T = round(window_seconds * frame rate); int32, and bool for `valid`, which is
  False from a window's end on, where the ids are 0.

  Args:
    config: dataset, splits, window lengths. With `cache`, parsed utterances
      stay in memory.
    batch_size: global, over all hosts.
    seed: decides order and windows.
    process_index: this host.
    process_count: hosts.

  Raises:
    ValueError: no such dataset or split, a window shorter than a frame, or
      hosts that do not divide the batch.
  """

  def __init__(
    self,
    config: config_lib.DataConfig,
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
    self._seed = seed
    self._train = JoinedRecords(config.path, split=config.split)
    self.metadata = self._train.metadata
    self.frames = round(config.window_seconds * self.metadata.frame_rate)
    if self.frames < 1:
      raise ValueError(
        f"window_seconds must be at least one frame of "
        f"1/{self.metadata.frame_rate} s, got {config.window_seconds}"
      )
    shortest = round(config.min_window_seconds * self.metadata.frame_rate)
    self.min_frames = max(1, shortest)
    self._cache: dict[int, TokenExample] = {}

  @property
  def examples_per_epoch(self) -> int:
    """Utterances to train on."""
    return len(self._train)

  def train_batches(
    self, start_step: int = 0
  ) -> Iterator[dict[str, Shaped[np.ndarray, "B T *Q"]]]:
    """Endless batches of this host's rows.

    Args:
      start_step: batches to pass over; costs nothing.

    Raises:
      ValueError: `check_example` refuses an utterance.
    """

    def plan(position: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
      number = pipeline.shuffled_index(
        position, size=len(self._train), seed=self._seed
      )
      return number, pipeline.uniform(position, 2, seed=self._seed)

    shape = [self.frames]
    return pipeline.train_batches(
      self._load,
      plan,
      {
        "semantic": tf.TensorSpec(shape, tf.int32),
        "acoustic": tf.TensorSpec([*shape, self.metadata.levels], tf.int32),
        "valid": tf.TensorSpec(shape, tf.bool),
      },
      hosts=self._hosts,
      start_step=start_step,
      workers=self._config.workers,
    )

  def eval_batches(
    self,
  ) -> Iterator[dict[str, Shaped[np.ndarray, "B T *Q"]]]:
    """The first window of held-out utterances, always the same.

    At most `config.eval_batches` batches; rows that fill up the last one have
    no valid frame. None where `config.eval_split` is empty.

    Raises:
      ValueError: no such split, or `check_example` refuses an utterance.
    """
    if not self._config.eval_split:
      return
    records = JoinedRecords(self._config.path, split=self._config.eval_split)
    batches = -(-len(records) // self._hosts.batch_size)
    for batch in range(min(batches, self._config.eval_batches)):
      rows = [
        self._first_window(records, position)
        for position in self._hosts.positions(batch)
      ]
      yield {name: np.stack([row[name] for row in rows]) for name in rows[0]}

  def _first_window(self, records: JoinedRecords, number: int) -> dict:
    if number >= len(records):
      return self._pad(
        np.zeros(0, np.int32), np.zeros((0, self.metadata.levels), np.int32)
      )
    example = records[number]
    check_example(example, self.metadata)
    return self._window(example, 0, min(self.frames, len(example.acoustic)))

  def _load(self, number: np.int64, fractions: np.ndarray) -> dict:
    example = self._cache.get(int(number))
    if example is None:
      example = self._train[int(number)]
      check_example(example, self.metadata)
      if self._config.cache:
        self._cache[int(number)] = example
    length = self.min_frames + int(
      fractions[0] * (self.frames - self.min_frames + 1)
    )
    length = min(length, len(example.acoustic))
    start = int(fractions[1] * (len(example.acoustic) - length + 1))
    return self._window(example, start, length)

  def _window(self, example: TokenExample, start: int, length: int) -> dict:
    try:
      semantic = repeat_to_frames(
        example.semantic,
        start + length,
        semantic_rate=self.metadata.semantic_rate,
        frame_rate=self.metadata.frame_rate,
      )
    except ValueError as error:
      raise ValueError(f"record {example.id!r}: {error}") from None
    return self._pad(semantic[start:], example.acoustic[start : start + length])

  def _pad(self, semantic: np.ndarray, acoustic: np.ndarray) -> dict:
    padding = self.frames - len(semantic)
    return {
      "semantic": np.pad(semantic, (0, padding)),
      "acoustic": np.pad(acoustic, ((0, padding), (0, 0))),
      "valid": np.arange(self.frames) < len(semantic),
    }
