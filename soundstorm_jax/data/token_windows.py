"""Windows of tokens, and the held-out ones: what all token sources share.

Semantic tokens are repeated to the frame rate and repeated neighbours stay
(SoundStorm, arXiv 2305.09636, section 3.1): frame t has token floor(t *
semantic rate / frame rate).

Axes: B batch, T frames of the longest window, S semantic tokens, Q levels.
"""

import abc
from collections.abc import Iterator
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Shaped

from soundstorm_jax.config import DataConfig
from soundstorm_jax.data.positions import HostSlice
from soundstorm_jax.data.rates import repeat_to_frames
from soundstorm_jax.data.token_example import (
  TokenExample,
  TokenMetadata,
  check_example,
)


@runtime_checkable
class Records(Protocol):
  """Utterances by number."""

  def __len__(self) -> int:
    """How many there are."""

  def __getitem__(self, number: int) -> TokenExample:
    """One of them."""


class TokenWindows(abc.ABC):
  """A token source but for its training batches.

  Args:
    config: splits and window lengths.
    metadata: of the tokens.
    hosts: this host's rows.

  Attributes:
    metadata: of the tokens.
    frames: of the longest window, round(window_seconds * frame rate).
    min_frames: of the shortest.

  Raises:
    ValueError: a window shorter than a frame.
  """

  def __init__(
    self,
    config: DataConfig,
    metadata: TokenMetadata,
    *,
    hosts: HostSlice,
  ):
    self._config = config
    self._hosts = hosts
    self.metadata = metadata
    self.frames = round(config.window_seconds * metadata.frame_rate)
    if self.frames < 1:
      raise ValueError(
        f"window_seconds must be at least one frame of "
        f"1/{metadata.frame_rate} s, got {config.window_seconds}"
      )
    shortest = round(config.min_window_seconds * metadata.frame_rate)
    self.min_frames = max(1, shortest)

  @abc.abstractmethod
  def held_out(self) -> Records:
    """The utterances of `config.eval_split`.

    Raises:
      ValueError: no such split.
    """

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
    records = self.held_out()
    batches = -(-len(records) // self._hosts.batch_size)
    for batch in range(min(batches, self._config.eval_batches)):
      rows = [
        self._first_window(records, position)
        for position in self._hosts.positions(batch)
      ]
      yield {name: np.stack([row[name] for row in rows]) for name in rows[0]}

  def _first_window(self, records: Records, number: int) -> dict:
    if number >= len(records):
      return self._pad(
        np.zeros(0, np.int32), np.zeros((0, self.metadata.levels), np.int32)
      )
    example = records[number]
    check_example(example, self.metadata)
    length = min(self.frames, len(example.acoustic))
    return self.window(example, 0, length=length)

  def window(
    self, example: TokenExample, start: int, *, length: int
  ) -> dict[str, Shaped[np.ndarray, "T *Q"]]:
    """A row of a batch, from frame `start` on, zeros after `length` frames.

    Raises:
      ValueError: the semantic tokens end before the window does.
    """
    semantic = example_semantic(example, start + length, self.metadata)
    return self._pad(semantic[start:], example.acoustic[start : start + length])

  def _pad(self, semantic: np.ndarray, acoustic: np.ndarray) -> dict:
    padding = self.frames - len(semantic)
    return {
      "semantic": np.pad(semantic, (0, padding)),
      "acoustic": np.pad(acoustic, ((0, padding), (0, 0))),
      "valid": np.arange(self.frames) < len(semantic),
    }


def example_semantic(
  example: TokenExample, frames: int, metadata: TokenMetadata
) -> Shaped[np.ndarray, " T"]:
  """The semantic tokens of an utterance's first frames, at the frame rate.

  Raises:
    ValueError: they end before; the message names the record.
  """
  try:
    return repeat_to_frames(
      example.semantic,
      frames,
      semantic_rate=metadata.semantic_rate,
      frame_rate=metadata.frame_rate,
    )
  except ValueError as error:
    raise ValueError(f"record {example.id!r}: {error}") from None
