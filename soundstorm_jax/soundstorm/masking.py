"""The training mask and its loss (SoundStorm, arXiv 2305.09636, section 2.2).

Per example: a prompt delimiter t ~ U{0..length-1}, before which nothing is
masked; a level q; p = cos(u) with u ~ U[0, pi/2]; every frame from t on is
masked at level q with probability p, and at every finer level for certain. The
loss is the cross-entropy of the masked tokens of level q alone.

An example whose draw masks nothing at level q has one frame masked instead, the
one that came nearest to it. Only an example without valid frames is left with
no target, and then counts nothing.

Everything of an example is drawn from the key folded with its row, so it does
not depend on the batch around it, nor (jax's threefry being partitionable) on
the padding after it.

Levels count from 0, the coarsest.

Axes: B batch, T frames, Q levels, V codes.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int, Key

from soundstorm_jax.soundstorm.config import MaskingConfig


class TrainingMask(NamedTuple):
  """What is hidden from the network, and what it is asked for.

  Attributes:
    masked: the tokens that are replaced by the mask id.
    target: the frames whose token at `level` the loss counts.
    level: the level to predict, from 0.
    delimiter: the first frame that may be masked.
    drop_semantic: whether the example's conditioning is dropped.
  """

  masked: Bool[Array, "B T Q"]
  target: Bool[Array, "B T"]
  level: Int[Array, " B"]
  delimiter: Int[Array, " B"]
  drop_semantic: Bool[Array, " B"]


def draw_mask(
  key: Key[Array, ""],
  valid: Bool[Array, "B T"],
  *,
  levels: int,
  config: MaskingConfig,
) -> TrainingMask:
  """Draws a mask for each example of a batch.

  Args:
    key: the key of this step.
    valid: the frames that hold data: the first ones of each row.
    levels: Q, the number of levels.
    config: the chances of no prompt, of no conditioning and of a whole level
      masked, and how levels are drawn.

  Raises:
    ValueError: `levels` is below 1.
  """
  if levels < 1:
    raise ValueError(f"levels must be at least 1, got {levels}")
  keys = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(
    key, jnp.arange(valid.shape[0])
  )
  return jax.vmap(lambda k, v: _draw_example(k, v, levels, config))(keys, valid)


def _draw_example(
  key: Key[Array, ""],
  valid: Bool[Array, " T"],
  levels: int,
  config: MaskingConfig,
) -> TrainingMask:
  keys = jax.random.split(key, 7)
  frames = jnp.arange(valid.shape[0])
  length = valid.sum()
  delimiter = jax.random.randint(keys[0], (), 0, jnp.maximum(length, 1))
  no_prompt = jax.random.uniform(keys[1]) < config.no_prompt_prob
  delimiter = jnp.where(no_prompt, 0, delimiter)
  odds = config.coarse_bias * jnp.log(levels - jnp.arange(levels))
  level = jax.random.categorical(keys[2], odds)
  probability = jnp.cos(jax.random.uniform(keys[3], maxval=math.pi / 2))
  full = jax.random.uniform(keys[6]) < config.full_mask_prob
  probability = jnp.where(full, 1.0, probability)
  draws = jax.random.uniform(keys[4], valid.shape)

  maskable = valid & (frames >= delimiter)
  nearest = jnp.argmin(jnp.where(maskable, draws, jnp.inf))
  target = maskable & ((draws < probability) | (frames == nearest))
  finer = jnp.arange(levels) > level
  at_level = jnp.arange(levels) == level
  return TrainingMask(
    masked=(target[:, None] & at_level) | (maskable[:, None] & finer),
    target=target,
    level=level,
    delimiter=delimiter,
    drop_semantic=jax.random.uniform(keys[5]) < config.semantic_dropout,
  )


def mask_tokens(
  tokens: Int[Array, "B T Q"], mask: TrainingMask, *, mask_id: int
) -> Int[Array, "B T Q"]:
  """The tokens that the network sees."""
  return jnp.where(mask.masked, mask_id, tokens)


def drop_semantic(
  semantic: Int[Array, "B T"], mask: TrainingMask, *, null_id: int
) -> Int[Array, "B T"]:
  """The conditioning that the network sees."""
  return jnp.where(mask.drop_semantic[:, None], null_id, semantic)


def tokens_at_level(
  tokens: Int[Array, "B T Q"], level: Int[Array, " B"]
) -> Int[Array, "B T"]:
  """Each row's tokens at its own level."""
  return jnp.take_along_axis(tokens, level[:, None, None], axis=2)[:, :, 0]
