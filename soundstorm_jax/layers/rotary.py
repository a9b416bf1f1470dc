"""Rotary positions (arXiv 2104.09864).

Axes: B batch, T frames, H heads, K head width, P = K / 2 pairs.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

_ROTARY_BASE = 10_000.0


def rotary_angles(
  positions: Int[Array, " T"], head_dim: int
) -> tuple[Float[Array, "T P"], Float[Array, "T P"]]:
  """Cosines and sines of the rotary angles, in float32.

  Args:
    positions: the frames' positions.
    head_dim: K, the width of a head.

  Raises:
    ValueError: `head_dim` is not even.
  """
  if head_dim % 2:
    raise ValueError(f"head_dim must be even, got {head_dim}")
  exponents = jnp.arange(0, head_dim, 2, dtype=jnp.float32) / head_dim
  angles = positions[:, None].astype(jnp.float32) * _ROTARY_BASE**-exponents
  return jnp.cos(angles), jnp.sin(angles)


def apply_rotary(
  x: Float[Array, "B T H K"],
  angles: tuple[Float[Array, "T P"], Float[Array, "T P"]],
) -> Float[Array, "B T H K"]:
  """Rotates each pair (x[i], x[i + K/2]) by its frame's angle.

  Rotated queries and keys have dot products that depend on the distance of
  their frames only.

  Args:
    x: queries or keys.
    angles: cosines and sines, from `rotary_angles`.
  """
  cos, sin = (angle[None, :, None, :].astype(x.dtype) for angle in angles)
  first, second = jnp.split(x, 2, axis=-1)
  return jnp.concatenate(
    [first * cos - second * sin, second * cos + first * sin], axis=-1
  )
