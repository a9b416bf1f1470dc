"""What was generated, made as loud, bright and lively as the prompt.

Not in the paper. A vector that predictions expect varies less than the vectors
it stands for, and is nearer to the mean of all voices. Synthesis by expected
parameters has long given them back the variance of speech (Toda and Tokuda,
"A speech parameter generation algorithm considering global variance", 2007);
here the prompt tells which, and the mean too, for each dimension of the codec's
latents, as adaptive instance normalization does (arXiv 1703.06868).

A prompt has its own share of pauses, vowels and hisses, and what follows has
another. So frames are compared by kind: kinds are clusters of the codec's first
codebook, and a frame is of each as far as it is near.

Axes: B batch, T frames, Q levels, V codes, C latent width, N kinds.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from soundstorm_jax.models import quantizer

# What is expected varies too little, so it is never made to vary less; and a
# prompt of much livelier words must not make a shout of it.
_LARGEST_FACTOR = 2.0
# Of so few frames of a kind a mean is half believed.
_HALF_BELIEVED = 3
_LEAST_DEVIATION = 1e-2
_KINDS = 8
# Variance within a kind, as a share of what clustering leaves: how sharply
# frames are told apart.
_SHARPNESS = 0.2


def match_prompt(
  tokens: Int[Array, "B T Q"],
  *,
  prompt_length: Int[Array, " B"],
  length: Int[Array, " B"],
  codebooks: Float[Array, "Q V C"],
  strength: float,
) -> Int[Array, "B T Q"]:
  """Tokens whose latents have the prompt's mean and deviation, kind by kind.

  Rows without a prompt, prompts and padding stay as they are. Kinds of which
  the prompt or what follows has few frames count for less.

  Args:
    tokens: the prompt, then what was generated.
    prompt_length: frames of each prompt.
    length: frames of each row.
    codebooks: of the codec.
    strength: how much of the way, from 0 to 1.
  """
  latents = quantizer.dequantize(tokens, codebooks)
  frame = jnp.arange(tokens.shape[1])
  prompted = frame < prompt_length[:, None]
  made = ~prompted & (frame < length[:, None])
  kinds = _kinds(latents, codebooks[0])
  wanted = _statistics(latents, kinds * prompted[..., None])
  own = _statistics(latents, kinds * made[..., None])
  way = (strength * wanted.belief * own.belief)[..., None]
  factor = jnp.clip(wanted.deviation / own.deviation, 1.0, _LARGEST_FACTOR)
  factor = factor**way
  # What each kind makes of a frame x, its mean + way * (the prompt's - its
  # mean) + factor * (x - its mean), in one sum over kinds.
  shift = own.mean * (1 - factor) + way * (wanted.mean - own.mean)
  matched = latents * (kinds @ factor) + kinds @ shift
  codes = quantizer.quantize(matched, codebooks).codes.astype(tokens.dtype)
  moved = made & (prompt_length > 0)[:, None] & (strength > 0)
  return jnp.where(moved[..., None], codes, tokens)


def _kinds(
  latents: Float[Array, "B T C"], codebook: Float[Array, "V C"]
) -> Float[Array, "B T N"]:
  """How far each frame is of each kind, one in all."""
  centres = quantizer.initialize(
    codebook[None],
    quantizer.empty_codebooks(1, _KINDS, dim=codebook.shape[1]),
    key=jax.random.key(0),
    iterations=20,
  ).vectors[0]

  def distances(vectors):
    parts = vectors[..., None, :] - centres
    return jnp.sum(jnp.square(parts), axis=-1)

  left = jnp.mean(jnp.min(distances(codebook), axis=-1))
  return jax.nn.softmax(-distances(latents) / (2 * _SHARPNESS * left + 1e-9))


class _Statistics(NamedTuple):
  """Of the frames of each kind, in each dimension.

  Attributes:
    mean: of the latents.
    deviation: above zero.
    belief: from 0, of no frames, to 1.
  """

  mean: Float[Array, "B N C"]
  deviation: Float[Array, "B N C"]
  belief: Float[Array, "B N"]


def _statistics(
  latents: Float[Array, "B T C"], shares: Float[Array, "B T N"]
) -> _Statistics:
  count = shares.sum(1)
  weights = shares / jnp.maximum(count, 1e-6)[:, None]
  mean = jnp.einsum("btn,btc->bnc", weights, latents)
  square = jnp.einsum("btn,btc->bnc", weights, jnp.square(latents))
  variance = jnp.maximum(square - jnp.square(mean), 0.0)
  return _Statistics(
    mean=mean,
    deviation=jnp.maximum(jnp.sqrt(variance), _LEAST_DEVIATION),
    belief=count / (count + _HALF_BELIEVED),
  )
