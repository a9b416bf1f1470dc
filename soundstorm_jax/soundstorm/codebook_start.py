"""A running start for SoundStorm: what the codec knows of its codes.

Not in the paper, whose run is long enough to learn it. At random, a network has
to find out for each of 12 * 1024 codes what it sounds like; for hours of speech
on two cores it learns little but their frequencies. The codebooks say it: codes
are embedded as their vectors under one projection, so that a frame's sum is its
latent so far, and semantic tokens as the mean latent that they go with; the
Conformer starts as the identity; heads compare with the codes' vectors. Before
the first step that is already a table from semantic tokens to speech.

Axis letters: Q levels, V codes, D model width, C latent width, S semantic
tokens and the null.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from soundstorm_jax.soundstream import quantizer


class Counts(NamedTuple):
  """What `count_codes` finds.

  Attributes:
    codes: how often each code of each level occurs.
    semantic: how often each semantic token occurs; the last, the null, never.
    latents: the sum of the latents where it does.
  """

  codes: Float[Array, "Q V"]
  semantic: Float[Array, " S"]
  latents: Float[Array, "S C"]


def start_from_codebooks(
  params: dict[str, Any],
  codebooks: Float[Array, "Q V C"],
  counts: Counts,
  *,
  key: Key[Array, ""],
) -> dict[str, Any]:
  """SoundStorm's parameters with embeddings and heads from the codec.

  Args:
    params: SoundStorm's at random; of these the masks' embeddings stay, made
      smaller, and what the Conformer's parts do before their last matrices.
    codebooks: of the codec, as many levels and codes as SoundStorm has.
    counts: of codes, and of latents by semantic token.
    key: draws the projection.

  Raises:
    ValueError: the latents are wider than the model, which then cannot hold
      them.
  """
  _, codes, width = codebooks.shape
  dim = params["head_kernel"].shape[1]
  if width > dim:
    raise ValueError(
      f"the codec's latents have width {width}, more than the model's {dim}"
    )
  codes_seen = jnp.sum(counts.codes, axis=1, keepdims=True)
  share = (counts.codes + 1) / (codes_seen + codes)
  centre = jnp.sum(share[..., None] * codebooks, axis=1, keepdims=True)
  centred = codebooks - centre
  # (C, D), orthonormal rows: lengths and angles are kept.
  projection = jax.random.orthogonal(key, dim)[:width]
  energy = jnp.sum(share * jnp.sum(jnp.square(centred), axis=-1), axis=1)
  # Half the variance of the input is the codes'.
  scale = jnp.sqrt(0.5 * dim / jnp.sum(energy))
  embedding = jnp.concatenate(
    [
      scale * centred @ projection,
      # The same for all frames at first: small, so that it hides nothing.
      0.1 * params["token_embedding"][:, codes:],
    ],
    axis=1,
  )
  # A few frames' worth of doubt: the mean of a rare token is near zero.
  seen = counts.semantic[:, None]
  mean = (counts.latents - seen * jnp.sum(centre, axis=0)) / (seen + 4.0)
  unit = centred / jnp.sqrt(energy)[:, None, None]
  return params | {
    "token_embedding": embedding,
    "semantic_embedding": scale * mean @ projection,
    # The output has norm sqrt(D): it can be as sure of a code as it needs to.
    "head_kernel": jnp.swapaxes(unit @ projection, 1, 2),
    "head_bias": jnp.log(share),
    "conformer": _without_outputs(params["conformer"]),
  }


def _without_outputs(conformer: dict[str, Any]) -> dict[str, Any]:
  """The Conformer as the identity: what its parts add begins at zero."""

  def zeroed(path: tuple, leaf: Array) -> Array:
    names = {part.key for part in path}
    return jnp.zeros_like(leaf) if names & {"project", "out"} else leaf

  return jax.tree_util.tree_map_with_path(zeroed, conformer)


def count_codes(
  batch: dict[str, Array],
  codebooks: Float[Array, "Q V C"],
  *,
  semantic_vocab: int,
) -> Counts:
  """Counts of one batch's frames that hold data; batches' counts add up."""
  weight = batch["valid"].reshape(-1).astype(jnp.float32)
  acoustic = batch["acoustic"].reshape(-1, batch["acoustic"].shape[-1])
  semantic = batch["semantic"].reshape(-1)
  latents = quantizer.dequantize(acoustic[None], codebooks)[0]
  codes = jax.vmap(
    lambda level: jnp.bincount(
      level, weights=weight, length=codebooks.shape[1]
    ),
    in_axes=1,
  )(acoustic)
  size = semantic_vocab + 1
  return Counts(
    codes=codes,
    semantic=jnp.bincount(semantic, weights=weight, length=size),
    latents=jax.ops.segment_sum(
      latents * weight[:, None], semantic, num_segments=size
    ),
  )
