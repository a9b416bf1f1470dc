"""AudioLM's acoustic stages, autoregressive (arXiv 2209.03143, section III-D).

A stage writes its levels' tokens frame-major (see `flattening`), each given
all before it and a prefix: semantic tokens for the coarse stage, which writes
levels 1 to 4, and these for the fine stage, which writes the others. One slot
of the sequence holds one token:

  [prefix: P slots][start][first token] ... [last but one]

What comes out at the start's slot predicts the first token, and so on. Each
level has a head of its own, so a token can only be one of its level's codes:
the same as a softmax over all levels' ids with all others' left out.

The paper's sizes (12 layers, 16 heads, 1024/4096) make 160M and 172M parameters
with plain feed-forwards: the two together, and not each, are the 0.3B that it
names.

Slots of the prefix that are not valid are never attended to. Positions count
from fixed places, whatever the number of slots: a prefix begins at 0, and the
tokens after that of the longest window. So a shorter sequence is a longer one
with what is missing left out.

Levels count from 0, the coarsest, in code; the paper counts from 1.

Axes: B batch, T frames, L levels of the stage, V codes, P slots of the prefix,
M known tokens, S slots, D model width, H heads, N = B * H.
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from soundstorm_jax.audiolm.conditioning import (
  Prefix,
  conditioning,
  slot_positions,
)
from soundstorm_jax.audiolm.config import AudioLMConfig
from soundstorm_jax.audiolm.flattening import flatten
from soundstorm_jax.layers.attention import MASKED_SCORE, LayerCache
from soundstorm_jax.layers.relative_positions import position_buckets
from soundstorm_jax.layers.stacking import unstack_layers
from soundstorm_jax.layers.transformer import Transformer

# As in `soundstorm`: nearly uniform predictions at the start.
_INITIAL_LOGIT_SCALE = 0.1


class Caches(NamedTuple):
  """What a step needs of the slots before.

  Attributes:
    layers: keys and values.
    biases: of the positions, by the distance from -max_distance to
      max_distance, so that a step has only to look them up.
  """

  layers: tuple[LayerCache, ...]
  biases: Float[Array, "H _"]


class AudioLM(nn.Module):
  """One stage: the logits of each token given those before it."""

  config: AudioLMConfig

  def setup(self):
    config = self.config
    dim = config.transformer.dim
    self.token_embedding = self.param(
      "token_embedding",
      nn.with_logical_partitioning(
        nn.initializers.normal(1.0), ("table", "embed")
      ),
      # The prefix's ids, the start, the targets' ids.
      (config.prefix_vocab + 1 + config.target_levels * config.codes, dim),
    )
    self.position_bias = self.param(
      "position_bias",
      nn.with_logical_partitioning(nn.initializers.zeros, ("table", "heads")),
      (config.transformer.position_buckets, config.transformer.heads),
    )
    self.transformer = Transformer(config.transformer)
    self.head_kernel = self.param(
      "head_kernel",
      nn.with_logical_partitioning(
        nn.initializers.normal(_INITIAL_LOGIT_SCALE / math.sqrt(dim)),
        ("levels", "vocab", "embed"),
      ),
      (config.target_levels, config.codes, dim),
    )
    self.head_bias = self.param(
      "head_bias",
      nn.with_logical_partitioning(nn.initializers.zeros, ("levels", "vocab")),
      (config.target_levels, config.codes),
    )

  def _buckets(self, distance: Int[Array, "*S"]) -> Int[Array, "*S"]:
    config = self.config.transformer
    return position_buckets(
      distance,
      buckets=config.position_buckets,
      max_distance=config.max_distance,
      both_ways=self.config.positions == "time",
    )

  def _biases_by_bucket(self) -> Float[Array, "_ H"]:
    # Scores are sums of products, of a size that grows with the width; without
    # a gain, an optimizer whose steps are all of one size is slow to get there.
    gain = math.sqrt(self.config.transformer.dim)
    return gain * self.position_bias.astype(jnp.float32)

  def _bias(self, positions: Int[Array, " S"]) -> Float[Array, "H S S"]:
    """Of all slots to all; `MASKED_SCORE` for what comes later."""
    buckets = self._buckets(positions[:, None] - positions)
    # A product and not a lookup, whose gradient is a slow sum over all pairs.
    bias = jnp.einsum(
      "tsb,bh->hts",
      jax.nn.one_hot(buckets, len(self.position_bias)),
      self._biases_by_bucket(),
      precision="highest",
    )
    slots = jnp.arange(len(positions))
    return jnp.where(slots[:, None] < slots, MASKED_SCORE, bias)

  def _run(
    self,
    prefix: Prefix,
    ids: Int[Array, "B M"],
    *,
    deterministic: bool = True,
  ) -> tuple[Float[Array, "B S D"], tuple[LayerCache, ...]]:
    """All of [prefix][start][ids]; ids as `flatten` gives them."""
    start = self.config.prefix_vocab
    rows, length = prefix.ids.shape
    with jax.named_scope("embed"):
      slots = jnp.concatenate(
        [prefix.ids, jnp.full((rows, 1), start, jnp.int32), ids + start + 1],
        axis=1,
      )
      x = self.token_embedding[slots]
    count = slots.shape[1]
    positions = slot_positions(
      self.config, prefix=length, targets=count - length
    )
    # Nothing is valid beside the start in an empty row, which keeps it finite.
    # What lies beyond a row's end is later than all that counts.
    valid = jnp.pad(
      prefix.valid, ((0, 0), (0, count - length)), constant_values=True
    )
    return self.transformer(
      x,
      bias=self._bias(jnp.asarray(positions)),
      valid=valid,
      deterministic=deterministic,
    )

  def __call__(
    self,
    tokens: Int[Array, "B T L"],
    prefix: Prefix,
    *,
    deterministic: bool = True,
  ) -> Float[Array, "B T L V"]:
    """Float32 logits of every token, given the true ones before it.

    Args:
      tokens: the stage's own levels.
      prefix: of the same frames (`conditioning`).
      deterministic: no dropout; with it off, a `dropout` RNG is needed.

    Raises:
      ValueError: another number of levels than the config's, more frames than
        a window, or a prefix of other frames.
    """
    config = self.config
    rows, frames, levels = tokens.shape
    if levels != config.target_levels:
      raise ValueError(
        f"tokens must have {config.target_levels} levels, got {levels}"
      )
    _check_frames(config, frames, prefix)
    ids = flatten(tokens, codes=config.codes)
    x, _ = self._run(prefix, ids[:, :-1], deterministic=deterministic)
    x = x[:, prefix.ids.shape[1] :].reshape(rows, frames, levels, -1)
    with jax.named_scope("head"):
      logits = jnp.einsum(
        "btld,lvd->btlv",
        x,
        self.head_kernel.astype(x.dtype),
        preferred_element_type=jnp.float32,
      )
      logits = logits + self.head_bias
    return nn.with_logical_constraint(
      logits, ("act_batch", "act_time", None, "act_vocab")
    )

  def prefill(self, prefix: Prefix, tokens: Int[Array, "B T L"]) -> Caches:
    """Caches of the prefix, the start and known tokens, in one pass.

    Args:
      prefix: of the whole window.
      tokens: the first frames of the stage's own levels; may be none. Where a
        row knows less, `step` writes over it.

    Returns:
      A cache of P + 1 + T * L slots for each layer.

    Raises:
      ValueError: more frames than a window.
    """
    frames = self.config.window_frames
    if tokens.shape[1] > frames:
      raise ValueError(
        f"a window must have at most {frames} frames, got {tokens.shape[1]}"
      )
    _, layers = self._run(prefix, flatten(tokens, codes=self.config.codes))
    return Caches(layers, self.distance_biases())

  def distance_biases(self) -> Float[Array, "H _"]:
    """See `Caches.biases`."""
    farthest = self.config.transformer.max_distance
    distances = jnp.arange(-farthest, farthest + 1)
    return self._biases_by_bucket()[self._buckets(distances)].T

  def step(
    self,
    caches: Caches,
    *,
    previous: Int[Array, " B"],
    index: Int[Array, ""],
    prefix_valid: Bool[Array, "B P"],
    write: Bool[Array, " B"],
  ) -> tuple[Float[Array, "B V"], Caches]:
    """Float32 logits of one token a row, over the codes of its level.

    Args:
      caches: with room for slot P + index.
      previous: the code of token index - 1; not read at index 0.
      index: of the token in the window, from 0.
      prefix_valid: of the prefix.
      write: the rows whose caches do not have the previous token yet.
    """
    config = self.config
    prefix = prefix_valid.shape[1]
    slots = caches.layers[0].key.shape[1]
    slot = prefix + index
    first = config.prefix_vocab + 1
    level = (index - 1) % config.target_levels
    ids = jnp.where(
      index == 0, first - 1, first + level * config.codes + previous
    )
    x = self.token_embedding[ids].T
    positions = jnp.asarray(
      slot_positions(config, prefix=prefix, targets=slots - prefix)
    )
    farthest = config.transformer.max_distance
    distance = jnp.clip(positions[slot] - positions, -farthest, farthest)
    bias = caches.biases[:, distance + farthest]
    visible = jnp.arange(slots) <= slot
    bias = jnp.where(visible, bias, MASKED_SCORE)
    hidden = jnp.pad(
      jnp.where(prefix_valid, 0.0, MASKED_SCORE), ((0, 0), (0, slots - prefix))
    )
    bias = (hidden[:, None] + bias).reshape(-1, slots)
    x, layers = self.transformer(
      x, bias=bias, caches=caches.layers, slot=slot, write=write
    )
    level = index % config.target_levels
    kernel = self.head_kernel[level].astype(x.dtype)
    logits = jnp.einsum(
      "vd,db->vb", kernel, x, preferred_element_type=jnp.float32
    )
    # XLA would turn the product round for the transpose's sake, and be slower.
    logits = jax.lax.optimization_barrier(logits).T
    return logits + self.head_bias[level], caches._replace(layers=layers)


def _check_frames(config: AudioLMConfig, frames: int, prefix: Prefix) -> None:
  if frames > config.window_frames:
    raise ValueError(
      f"a window must have at most {config.window_frames} frames, got {frames}"
    )
  expected = config.prefix_length(frames)
  if prefix.ids.shape[1] != expected:
    raise ValueError(
      f"the prefix of {frames} frames must have {expected} tokens, got "
      f"{prefix.ids.shape[1]}"
    )


def decoding_config(config: AudioLMConfig) -> AudioLMConfig:
  """The same network as it is sampled from: layers apart, and no dropout."""
  transformer = dataclasses.replace(
    config.transformer, scan_layers=False, remat=False, dropout=0.0
  )
  return dataclasses.replace(config, transformer=transformer)


def decoding_params(
  config: AudioLMConfig, params: Mapping[str, Any]
) -> dict[str, Any]:
  """Parameters for `decoding_config`: layers apart, in the compute dtype.

  To be done once, before sampling: a step does little but read them.

  Args:
    config: of the network that was trained.
    params: its parameters, stacked or not.
  """
  layers = dict(params["transformer"])
  if "layers" in layers:
    layers |= unstack_layers({"layers": layers.pop("layers")})
  params = dict(params) | {"transformer": layers}

  def cast(path: tuple, leaf: Any) -> jax.Array:
    leaf = jnp.asarray(leaf)
    if path[-1].key in ("scale", "position_bias", "head_bias"):
      return leaf
    return leaf.astype(config.transformer.dtype)

  return jax.tree_util.tree_map_with_path(cast, params)


def example_inputs(config: AudioLMConfig) -> tuple[jax.Array, Prefix]:
  """The smallest inputs of a stage, for initialisation."""
  frames = jnp.zeros((1, 1), jnp.int32)
  tokens = jnp.zeros((1, 1, config.target_levels), jnp.int32)
  acoustic = jnp.zeros((1, 1, config.coarse_levels), jnp.int32)
  valid = jnp.ones((1, 1), bool)
  return tokens, conditioning(
    config, semantic=frames, acoustic=acoustic, valid=valid
  )


def parameter_count(config: AudioLMConfig) -> int:
  """The number of parameters of a stage, without making them."""
  variables = jax.eval_shape(
    lambda key: AudioLM(config).init(key, *example_inputs(config)),
    jax.random.key(0),
  )
  return sum(leaf.size for leaf in jax.tree.leaves(variables))
