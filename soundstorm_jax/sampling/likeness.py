"""What was generated, made as loud, bright and lively as the prompt.

Not in the paper. A vector that predictions expect varies less than the vectors
it stands for, and is nearer to the mean of all voices. Synthesis by expected
parameters has long given them back the variance of speech (Toda and Tokuda,
"A speech parameter generation algorithm considering global variance", 2007);
here the prompt tells which, and the mean too, for each dimension of the codec's
latents, as adaptive instance normalization does (arXiv 1703.06868).

Axes: B batch, T frames, Q levels, V codes, C latent width.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from soundstorm_jax.models import quantizer

# What is expected varies too little, so it is never made to vary less; and a
# prompt of much livelier words must not make a shout of it.
_LARGEST_FACTOR = 2.0
# Of so few frames a mean is half believed.
_HALF_BELIEVED = 10
_LEAST_DEVIATION = 1e-3


def match_prompt(
  tokens: Int[Array, "B T Q"],
  *,
  prompt_length: Int[Array, " B"],
  length: Int[Array, " B"],
  codebooks: Float[Array, "Q V C"],
  strength: float,
) -> Int[Array, "B T Q"]:
  """Tokens whose latents have the prompt's mean and deviation.

  Rows without a prompt, prompts and padding stay as they are. Short prompts,
  and prompts of short speech, count for less.

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
  wanted, own = _statistics(latents, prompted), _statistics(latents, made)
  way = (strength * wanted.belief * own.belief)[:, None, None]
  factor = jnp.clip(wanted.deviation / own.deviation, 1.0, _LARGEST_FACTOR)
  matched = (
    own.mean
    + way * (wanted.mean - own.mean)
    + (latents - own.mean) * factor**way
  )
  codes = quantizer.quantize(matched, codebooks).codes.astype(tokens.dtype)
  return jnp.where(made[..., None] & (way > 0), codes, tokens)


class _Statistics(NamedTuple):
  """Of some frames of each row, in each dimension.

  Attributes:
    mean: of the latents.
    deviation: above zero.
    belief: from 0, of no frames, to 1.
  """

  mean: Float[Array, "B 1 C"]
  deviation: Float[Array, "B 1 C"]
  belief: Float[Array, " B"]


def _statistics(
  latents: Float[Array, "B T C"], frames: Bool[Array, "B T"]
) -> _Statistics:
  count = frames.sum(-1)
  weights = (frames / jnp.maximum(count, 1)[:, None])[..., None]
  mean = jnp.sum(weights * latents, axis=1, keepdims=True)
  variance = jnp.sum(
    weights * jnp.square(latents - mean), axis=1, keepdims=True
  )
  return _Statistics(
    mean=mean,
    deviation=jnp.maximum(jnp.sqrt(variance), _LEAST_DEVIATION),
    belief=count / (count + _HALF_BELIEVED),
  )
