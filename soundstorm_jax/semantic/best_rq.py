"""The targets of BEST-RQ (arXiv 2202.01855).

Pure functions of arrays and keys. The quantizer is made from a seed and never
trained; nothing of it is stored.

Axes: B batch, T frames, F channels of a frame, V codes, C width of a code.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

# The noise that masked frames are replaced with (section 3.2).
_NOISE_STD = 0.1


class RandomQuantizer(NamedTuple):
  """A frozen projection and codebook (section 3.1)."""

  projection: Float[Array, "F C"]
  codebook: Float[Array, "V C"]


def random_quantizer(
  key: Key[Array, ""], *, channels: int, codes: int, code_dim: int
) -> RandomQuantizer:
  """Xavier-uniform projection; normal codes of unit length (section 3.1)."""
  projection_key, codebook_key = jax.random.split(key)
  init = jax.nn.initializers.xavier_uniform()
  codebook = jax.random.normal(codebook_key, (codes, code_dim))
  return RandomQuantizer(
    init(projection_key, (channels, code_dim)), _unit(codebook)
  )


def _unit(vectors: jax.Array) -> jax.Array:
  norm = jnp.linalg.norm(vectors, axis=-1, keepdims=True)
  return vectors / jnp.maximum(norm, 1e-12)


def quantize(
  frames: Float[Array, "B T F"], quantizer: RandomQuantizer
) -> Int[Array, "B T"]:
  """The code nearest to each projected frame, both of unit length.

  Equation 1 of section 3.1: between unit vectors the smallest distance is the
  largest product.
  """
  projected = frames @ quantizer.projection
  return jnp.argmax(_unit(projected) @ quantizer.codebook.T, axis=-1)


def span_mask(
  key: Key[Array, ""],
  valid: Bool[Array, "B T"],
  *,
  probability: float,
  length: int,
) -> Bool[Array, "B T"]:
  """Frames within `length` of a start; every frame may be one (section 3.2).

  Args:
    key: for the draw.
    valid: frames that hold speech; no others are masked.
    probability: that a span starts at a frame.
    length: of a span, in frames; spans may overlap.
  """
  starts = jax.random.bernoulli(key, probability, valid.shape)
  return spread(starts, length) & valid


def spread(starts: Bool[Array, "B T"], length: int) -> Bool[Array, "B T"]:
  """True from each start on for `length` frames."""
  frames = starts.shape[1]
  padded = jnp.pad(starts, ((0, 0), (length - 1, 0)))
  return jnp.any(
    jnp.stack([padded[:, i : i + frames] for i in range(length)]), axis=0
  )


def hide(
  key: Key[Array, ""], frames: Float[Array, "B T F"], mask: Bool[Array, "B T"]
) -> Float[Array, "B T F"]:
  """Replaces masked frames by normal noise (section 3.2)."""
  noise = _NOISE_STD * jax.random.normal(key, frames.shape, frames.dtype)
  return jnp.where(mask[:, :, None], noise, frames)
