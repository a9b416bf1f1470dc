"""Requests, checked and laid out for the sampler; no network here.

A request is decoded as the sequence [prompt | target], whose first acoustic
tokens are known (SoundStorm, arXiv 2305.09636, section 2.3). Its bucket, the
length that its batch is filled up to, follows from its own length alone.

Axes: S semantic tokens, T frames, P frames of a prompt, Q levels, B rows.
"""

import collections
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Int

from soundstorm_jax.data.rates import repeat_to_frames
from soundstorm_jax.speech.requests import Request, SpeechTokens

# Frames of a batch, and of its prompts.
Shape = tuple[int, int]


class Limits(NamedTuple):
  """What a request must keep to.

  Attributes:
    levels: of the model.
    codes: of a level.
    semantic_vocab: number of semantic tokens.
    semantic_rate: semantic tokens a second.
    frame_rate: frames a second.
    buckets: lengths in frames, ascending.
  """

  levels: int
  codes: int
  semantic_vocab: int
  semantic_rate: Fraction
  frame_rate: Fraction
  buckets: tuple[int, ...]


class Row(NamedTuple):
  """A request as the sampler takes it, yet without padding.

  Attributes:
    semantic: at the frame rate, of prompt and target.
    prompt: the first frames, known.
    seed: of the noise.
    bucket: the length of its batch.
  """

  semantic: Int[np.ndarray, "T"]
  prompt: Int[np.ndarray, "P Q"]
  seed: int
  bucket: int

  @property
  def frames(self) -> int:
    """Of the target."""
    return len(self.semantic) - len(self.prompt)


def lay_out(request: Request, limits: Limits) -> Row:
  """Checks a request and puts prompt and target in line.

  Raises:
    ValueError: ids out of range, too few semantic tokens for the frames, a
      request that is empty or longer than the largest bucket, or a prompt of
      another number of levels.
  """
  check_ids("semantic", request.semantic, limits.semantic_vocab)
  if not 0 <= request.seed < 2**32:
    raise ValueError(f"seed must be in [0, 2**32), got {request.seed}")
  frames = request.frames
  if frames is None:
    rate = limits.frame_rate / limits.semantic_rate
    frames = int(len(request.semantic) * rate)
  if frames < 1:
    raise ValueError(f"frames must be at least 1, got {frames}")
  prompt = np.zeros((0, limits.levels), np.int32)
  if request.prompt is not None:
    prompt = request.prompt.acoustic
    check_ids("prompt.acoustic", prompt, limits.codes)
    check_ids("prompt.semantic", request.prompt.semantic, limits.semantic_vocab)
    if prompt.shape[1] != limits.levels:
      raise ValueError(
        f"prompt.acoustic must have {limits.levels} levels, got "
        f"{prompt.shape[1]}"
      )
  bucket = next_bucket(len(prompt) + frames, limits.buckets)
  parts = [(request.semantic, frames)]
  if request.prompt is not None:
    parts.insert(0, (request.prompt.semantic, len(prompt)))
  semantic = [
    repeat_to_frames(
      tokens,
      count,
      semantic_rate=limits.semantic_rate,
      frame_rate=limits.frame_rate,
    )
    for tokens, count in parts
  ]
  return Row(np.concatenate(semantic), prompt, request.seed, bucket)


def split_tokens(
  tokens: SpeechTokens, seconds: float, limits: Limits
) -> tuple[SpeechTokens, SpeechTokens]:
  """The start and the rest, where a semantic token and a frame both begin."""
  ratio = limits.frame_rate / limits.semantic_rate
  unit = ratio.denominator
  count = max(1, round(seconds * limits.semantic_rate / unit)) * unit
  frames = int(count * ratio)
  return tuple(
    SpeechTokens(tokens.semantic[half], tokens.acoustic[other])
    for half, other in (
      (slice(None, count), slice(None, frames)),
      (slice(count, None), slice(frames, None)),
    )
  )


def check_ids(name: str, ids: Int[np.ndarray, "T *Q"], limit: int) -> None:
  """Refuses no ids at all, and ids outside [0, limit).

  Raises:
    ValueError: naming them.
  """
  if not ids.size:
    raise ValueError(f"{name} must have at least one token, got none")
  if ids.min() < 0 or ids.max() >= limit:
    raise ValueError(
      f"{name} ids must be in [0, {limit}), got {ids.min()} to {ids.max()}"
    )


def next_bucket(frames: int, buckets: tuple[int, ...]) -> int:
  """The smallest bucket that holds so many frames.

  Raises:
    ValueError: none does.
  """
  if frames > buckets[-1]:
    raise ValueError(
      f"a request, with its prompt, must have at most {buckets[-1]} frames, "
      f"got {frames}; a model can be loaded with larger buckets"
    )
  return next(bucket for bucket in buckets if bucket >= frames)


def pad(
  values: Int[np.ndarray, "T *Q"], length: int
) -> Int[np.ndarray, "L *Q"]:
  """Fills up with zeros at the end, as int32."""
  padding = [(0, length - len(values))] + [(0, 0)] * (values.ndim - 1)
  return np.pad(values, padding).astype(np.int32)


def batches(
  rows: Sequence[Row], *, size: int, shape: Callable[[Row], Shape]
) -> Iterator[tuple[Shape, list[int]]]:
  """Rows of one shape together, at most `size` of them.

  Yields:
    The shape and the numbers of the rows, in order.
  """
  by_shape = collections.defaultdict(list)
  for number, row in enumerate(rows):
    by_shape[shape(row)].append(number)
  for key, numbers in sorted(by_shape.items()):
    for first in range(0, len(numbers), size):
      yield key, numbers[first : first + size]


def fill_up(rows: Sequence[Row], *, size: int, bucket: int) -> list[Row]:
  """`size` rows, dummies of no frames at the end."""
  dummy = Row(rows[0].semantic[:0], rows[0].prompt[:0], 0, bucket)
  return [*rows, *[dummy] * (size - len(rows))]


def sampler_inputs(rows: Sequence[Row], shape: Shape) -> dict[str, Any]:
  """What samplers take of a batch, beside parameters, by name."""
  frames, prompt_frames = shape
  return {
    "semantic": np.stack([pad(row.semantic, frames) for row in rows]),
    "prompt": np.stack([pad(row.prompt, prompt_frames) for row in rows]),
    "prompt_length": np.array([len(row.prompt) for row in rows], np.int32),
    "length": np.array([len(row.semantic) for row in rows], np.int32),
    "keys": row_keys([row.seed for row in rows]),
  }


def row_keys(seeds: Sequence[int]) -> jax.Array:
  """Threefry keys, whatever generator jax is set to by default."""
  return jax.vmap(lambda seed: jax.random.key(seed, impl="threefry2x32"))(
    np.array(seeds, np.uint32)
  )
