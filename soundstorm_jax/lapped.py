"""The modified discrete cosine transform: audio as H numbers every H samples.

A lapped orthogonal transform (Princen, Johnson and Bradley 1987): frames of 2H
samples under a sine window overlap by half, give H coefficients each, and add
up to the audio again. It keeps the number of values, so that a network can work
at a low rate and still write every sample.

Axis letters: B batch, N samples, T frames, H hop, W window (2H).
"""

import functools

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


@functools.lru_cache(maxsize=16)
def basis(hop: int) -> Float[np.ndarray, "W H"]:
  """The transform's cosines under their window; columns are orthonormal."""
  sample = np.arange(2 * hop)[:, None] + 0.5
  coefficient = np.arange(hop) + 0.5
  cosines = np.cos(np.pi / hop * (sample + hop / 2) * coefficient)
  window = np.sin(np.pi * sample / (2 * hop))
  return (np.sqrt(2 / hop) * window * cosines).astype(np.float32)


def mdct(audio: Float[Array, "B N"], hop: int) -> Float[Array, "B T H"]:
  """Coefficients of T = N / H frames, each centred on its own H samples.

  The audio is taken to stand in silence.

  Raises:
    ValueError: the hop is odd, or the samples do not fill whole hops.
  """
  _check(audio.shape[1], hop=hop)
  half = hop // 2
  padded = jnp.pad(audio, ((0, 0), (half, half)))
  blocks = padded.reshape(audio.shape[0], -1, hop)
  frames = jnp.concatenate([blocks[:, :-1], blocks[:, 1:]], axis=-1)
  return frames @ basis(hop)


def inverse_mdct(
  coefficients: Float[Array, "B T H"],
) -> Float[Array, "B N"]:
  """The audio again, N = T * H; half a hop at either end has an alias.

  Raises:
    ValueError: the hop is odd.
  """
  batch, frames, hop = coefficients.shape
  _check(frames * hop, hop=hop)
  pairs = coefficients @ basis(hop).T
  first, second = jnp.split(pairs, 2, axis=-1)
  blocks = jnp.pad(first, ((0, 0), (0, 1), (0, 0)))
  blocks += jnp.pad(second, ((0, 0), (1, 0), (0, 0)))
  return blocks.reshape(batch, -1)[:, hop // 2 : -(hop // 2)]


def _check(samples, *, hop):
  if hop % 2:
    raise ValueError(f"hop must be even, got {hop}")
  if samples % hop:
    raise ValueError(f"{samples} samples do not fill whole hops of {hop}")
