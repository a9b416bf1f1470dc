"""Windows of tokens for training SoundStorm, by integer position.

A position (see positions.py) names an utterance; every epoch has each once. A
window of random length, in the paper U[0, 30] seconds, is cut at a random
place.

Axes: B batch, T frames of the longest window, Q levels.
"""

from collections.abc import Iterator

import numpy as np
import tensorflow as tf
from jaxtyping import Shaped

from soundstorm_jax.config import DataConfig
from soundstorm_jax.data import pipeline
from soundstorm_jax.data.positions import host_slice
from soundstorm_jax.data.records import JoinedRecords
from soundstorm_jax.data.token_example import TokenExample, check_example
from soundstorm_jax.data.token_windows import TokenWindows


class TokenSource(TokenWindows):
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
    config: DataConfig,
    *,
    batch_size: int,
    seed: int,
    process_index: int = 0,
    process_count: int = 1,
  ):
    hosts = host_slice(
      batch_size, process_index=process_index, process_count=process_count
    )
    self._seed = seed
    self._train = JoinedRecords(config.path, split=config.split)
    super().__init__(config, self._train.metadata, hosts=hosts)
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

  def held_out(self) -> JoinedRecords:
    """See `TokenWindows`."""
    return JoinedRecords(self._config.path, split=self._config.eval_split)

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
    return self.window(example, start, length=length)
