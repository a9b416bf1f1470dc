"""A running start for the codec: principal components and long k-means.

The paper's codebooks start from k-means on the first batch (SoundStream,
section III-B); here that may be as many batches as one likes. A codec with a
linear path (`SoundStreamConfig.mdct_hop` above 1) also begins as the best
linear codec of its data: the path's matrices become the principal components of
the lapped transform, frame by frame (the Karhunen-Loeve transform).

Axis letters: B batch, N samples or frames, T frames, D latent width,
C coefficients of a frame.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from soundstorm_jax.config import SoundStreamConfig
from soundstorm_jax.models import quantizer
from soundstorm_jax.models.soundstream import SoundStream, lapped_signal


def principal_components(
  moments: Float[Array, "C C"], dim: int
) -> Float[Array, "C D"]:
  """Orthonormal directions of most energy, the strongest first.

  Args:
    moments: sum over frames of the outer product of a frame with itself.
    dim: how many directions.

  Raises:
    ValueError: `dim` is more than there are coefficients.
  """
  if dim > moments.shape[0]:
    raise ValueError(
      f"dim must be at most {moments.shape[0]}, the coefficients of a frame, "
      f"got {dim}"
    )
  _, vectors = jnp.linalg.eigh(moments)
  return vectors[:, ::-1][:, :dim]


def start_linear(
  config: SoundStreamConfig, params: Any, audio: Sequence[Float[Array, "B N"]]
) -> dict[str, Any]:
  """Parameters whose linear paths are the principal components of batches."""

  @jax.jit
  def moments_of(batch):
    frames = lapped_signal(config, batch).reshape(-1, config.hop)
    return frames.T @ frames

  moments = sum(moments_of(batch) for batch in audio)
  components = jax.jit(principal_components, static_argnums=1)(
    moments, config.dim
  )
  return {
    "encoder": {**params["encoder"], "linear": components},
    "decoder": {**params["decoder"], "linear": components.T},
  }


def start_codebooks(
  config: SoundStreamConfig,
  params: Any,
  audio: Sequence[Float[Array, "B N"]],
  *,
  key: Array,
) -> quantizer.Codebooks:
  """k-means over all frames of batches, counted as if they were one batch."""
  model = SoundStream(config)

  @jax.jit
  def encode(params, batch):
    return model.apply({"params": params}, batch, method="encode")

  latents = jnp.concatenate([encode(params, batch) for batch in audio])
  empty = quantizer.empty_codebooks(config.levels, config.codes, dim=config.dim)
  books = jax.jit(quantizer.initialize)(latents, empty, key=key)
  share = 1.0 / len(audio)
  return books._replace(counts=books.counts * share, sums=books.sums * share)
