"""A running start for the codec: k-means over many batches.

The paper's codebooks start from k-means on the first batch (SoundStream,
section III-B); here that may be as many batches as one likes.

Axis letters: B batch, N samples.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from soundstorm_jax.soundstream import quantizer
from soundstorm_jax.soundstream.config import SoundStreamConfig
from soundstorm_jax.soundstream.network import SoundStream


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
