"""Levels of tokens as one sequence, and long utterances in pieces (AudioLM).

Frame-major: all levels of the first frame, coarse to fine, then those of the
second (AudioLM, arXiv 2209.03143, section III-D). Level q of Q has ids of its
own, from q * V on, so that a token tells its level.

Axes: B batch, T frames, Q levels, V codes, N = T * Q.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int


def flatten(tokens: Int[Array, "B T Q"], *, codes: int) -> Int[Array, "B N"]:
  """Codes in [0, V) to ids in [0, Q * V), frame-major."""
  rows, frames, levels = tokens.shape
  ids = tokens + codes * jnp.arange(levels, dtype=tokens.dtype)
  return ids.reshape(rows, frames * levels)


def unflatten(
  ids: Int[Array, "B N"], *, levels: int, codes: int
) -> Int[Array, "B T Q"]:
  """The inverse of `flatten`.

  Raises:
    ValueError: N is not a multiple of Q.
  """
  rows, count = ids.shape
  if count % levels:
    raise ValueError(
      f"the number of ids must be a multiple of {levels}, got {count}"
    )
  tokens = ids.reshape(rows, count // levels, levels)
  return tokens - codes * jnp.arange(levels, dtype=ids.dtype)


class Window(NamedTuple):
  """A piece of an utterance.

  Attributes:
    start: its first frame.
    known: frames that an earlier window has decoded.
  """

  start: int
  known: int


def windows(frames: int, *, window: int, overlap: int) -> list[Window]:
  """Windows that cover an utterance, each beginning with the last one's end.

  Args:
    frames: of the utterance.
    window: frames of a window.
    overlap: frames that two windows share.

  Raises:
    ValueError: a second window is needed, and would not get any further.
  """
  if frames <= window:
    return [Window(0, 0)]
  if overlap >= window:
    raise ValueError(
      f"the overlap of windows must be less than {window} frames, got {overlap}"
    )
  starts = np.arange(0, frames - overlap, window - overlap)
  return [Window(int(s), overlap if s else 0) for s in starts]
