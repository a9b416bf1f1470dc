"""A decoder-only Transformer with relative positions, whole or step by step.

Each block is causal self-attention, then a feed-forward with GELU; both read a
normalised copy of the residual stream (RMSNorm, in float32) and have no biases.
Attention knows positions by T5's relative bias (arXiv 1910.10683, section 2.1):
distances fall into buckets, exact ones for near tokens and logarithmic ones for
far; each head has a number for each bucket, added to its scores. The numbers
are shared by all layers, as in T5.

The same blocks run over whole sequences (`__call__`), for training and for
what is known beforehand, and over one new token a row (`step`), against the
keys and values of those before it. A step is bound by reading the parameters
and the cache. So matrices are stored (out, in), and a step's activations have
the batch last: XLA on CPU reads the matrices two to three times as fast in this
product as in the other order. For the same reason heads and rows of the cache
are one axis.

Logical axis names are listed in `conformer`.

Axes: B batch, T query and S key slots, D model width, F inner width, H heads,
K head width, N = B * H.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from soundstorm_jax.layers.attention import (
  LayerCache,
  attention,
  cached_attention,
)
from soundstorm_jax.layers.config import TransformerConfig

_NORM_EPSILON = 1e-6


def _matrix_init(fan_in: int, *axes: str | None):
  return nn.with_logical_partitioning(
    nn.initializers.normal(fan_in**-0.5), axes
  )


class Norm(nn.Module):
  """RMSNorm in float32; the result is in the compute dtype."""

  config: TransformerConfig

  @nn.compact
  def __call__(
    self, x: Float[Array, "*A"], *, axis: int = -1
  ) -> Float[Array, "*A"]:
    init = nn.with_logical_partitioning(nn.initializers.ones, ("norm",))
    scale = self.param("scale", init, (self.config.dim,))
    shape = [1] * x.ndim
    shape[axis] = -1
    x = x.astype(jnp.float32)
    power = jnp.square(x).mean(axis, keepdims=True)
    x = x * jax.lax.rsqrt(power + _NORM_EPSILON) * scale.reshape(shape)
    return x.astype(self.config.dtype)


class DecoderBlock(nn.Module):
  """One layer: `__call__` over whole sequences, `step` over one token a row."""

  config: TransformerConfig
  deterministic: bool = True

  def setup(self):
    dim, heads = self.config.dim, self.config.heads
    inner, width = self.config.ff_dim, dim // heads
    self.attention_norm = Norm(self.config)
    self.qkv = self.param(
      "qkv",
      _matrix_init(dim, None, "heads", "kv", "embed"),
      (3, heads, width, dim),
    )
    self.out = self.param(
      "out", _matrix_init(dim, "embed", "heads", "kv"), (dim, heads, width)
    )
    self.feed_forward_norm = Norm(self.config)
    self.expand = self.param(
      "expand", _matrix_init(dim, "mlp", "embed"), (inner, dim)
    )
    self.project = self.param(
      "project", _matrix_init(inner, "embed", "mlp"), (dim, inner)
    )
    self.dropout = nn.Dropout(
      self.config.dropout, deterministic=self.deterministic
    )

  def _matrices(self) -> tuple[jax.Array, ...]:
    matrices = (self.qkv, self.out, self.expand, self.project)
    return tuple(matrix.astype(self.config.dtype) for matrix in matrices)

  def __call__(
    self,
    x: Float[Array, "B S D"],
    bias: Float[Array, "H S S"],
    valid: Bool[Array, "B S"],
  ) -> tuple[Float[Array, "B S D"], LayerCache | None]:
    """All slots at once.

    Args:
      x: the residual stream.
      bias: of the positions; `MASKED_SCORE` for what comes later.
      valid: the slots that may be attended to.

    Returns:
      The stream, and what `step` needs of these slots (None when scanned).
    """
    config = self.config
    qkv, out, expand, project = self._matrices()
    with jax.named_scope("attention"):
      normed = self.attention_norm(x)
      heads = jnp.einsum("bsd,ghkd->bsghk", normed, qkv)
      heads = nn.with_logical_constraint(
        heads, ("act_batch", "act_time", None, "act_heads", "act_kv")
      )
      query, key, value = (heads[:, :, i] for i in range(3))
      update = attention(query, key, value, valid=valid, bias=bias)
      x = self._add(x, jnp.einsum("bshk,dhk->bsd", update, out))
    with jax.named_scope("feed_forward"):
      normed = self.feed_forward_norm(x)
      inner = jnp.einsum("bsd,fd->bsf", normed, expand)
      inner = nn.with_logical_constraint(
        inner, ("act_batch", "act_time", "act_mlp")
      )
      x = self._add(x, jnp.einsum("bsf,df->bsd", nn.gelu(inner), project))
    if config.scan_layers:
      return x, None
    rows, slots, _ = x.shape
    key, value = (
      part.transpose(0, 2, 1, 3).reshape(rows * config.heads, slots, -1)
      for part in (key, value)
    )
    return x, LayerCache(key, value)

  def _add(self, x: jax.Array, update: jax.Array) -> jax.Array:
    return nn.with_logical_constraint(
      x + self.dropout(update), ("act_batch", "act_time", "act_embed")
    )

  def step(
    self,
    x: Float[Array, "D B"],
    cache: LayerCache,
    *,
    bias: Float[Array, "N S"],
    slot: Int[Array, ""],
    write: Bool[Array, " B"],
  ) -> tuple[Float[Array, "D B"], LayerCache]:
    """One slot of each row.

    Args:
      x: the residual stream of the new tokens.
      cache: of the slots before.
      bias: of the positions; `MASKED_SCORE` for what is not to be seen.
      slot: where the new tokens are.
      write: the rows whose cache takes their new token; in the others it has
        been there.
    """
    config = self.config
    rows, width = x.shape[1], config.dim // config.heads
    qkv, out, expand, project = self._matrices()
    heads = qkv.reshape(-1, config.dim) @ self.attention_norm(x, axis=0)
    heads = heads.reshape(3, config.heads, width, rows).transpose(0, 3, 1, 2)
    query, key, value = heads.reshape(3, rows * config.heads, width)
    write = jnp.repeat(write, config.heads)[:, None, None]

    def put(old: jax.Array, new: jax.Array) -> jax.Array:
      before = jax.lax.dynamic_slice_in_dim(old, slot, 1, axis=1)
      new = jnp.where(write, new[:, None], before)
      return jax.lax.dynamic_update_slice_in_dim(old, new, slot, axis=1)

    cache = LayerCache(put(cache.key, key), put(cache.value, value))
    update = cached_attention(query, cache, bias=bias)
    update = update.reshape(rows, config.dim).T
    x = x + out.reshape(config.dim, -1) @ update
    inner = nn.gelu(expand @ self.feed_forward_norm(x, axis=0))
    return x + project @ inner, cache


class Transformer(nn.Module):
  """A stack of blocks and a last norm.

  With `config.scan_layers` the parameters of all blocks are stacked under
  `layers`, which is for training: only the unrolled ones, `layer_0` and so on,
  give and take caches (`conformer.unstack_layers` makes them of the former).
  """

  config: TransformerConfig

  @nn.compact
  def __call__(
    self,
    x: Float[Array, "B S D"] | Float[Array, "D B"],
    *,
    bias: Float[Array, "... S"],
    valid: Bool[Array, "B S"] | None = None,
    caches: tuple[LayerCache, ...] = (),
    slot: Int[Array, ""] | None = None,
    write: Bool[Array, " B"] | None = None,
    deterministic: bool = True,
  ) -> tuple[Float[Array, "..."], tuple[LayerCache, ...]]:
    """Whole sequences; or, with caches, one new token a row.

    Args:
      x: (B, S, D), or (D, B) with caches.
      bias: (H, S, S), or (N, S) with caches.
      valid: see `DecoderBlock`; without caches.
      caches: of each layer.
      slot: see `DecoderBlock.step`; with caches.
      write: likewise.
      deterministic: no dropout; with it off, a `dropout` RNG is needed.

    Returns:
      What the heads read, in the layout of `x`, and caches of every layer
      (none when scanned).

    Raises:
      ValueError: caches with scanned layers, or not one for each layer.
    """
    config = self.config
    x = x.astype(config.dtype)
    block = DecoderBlock
    if config.remat:
      # A scan is a barrier already.
      block = nn.remat(block, prevent_cse=not config.scan_layers)
    if caches and (config.scan_layers or len(caches) != config.layers):
      raise ValueError(
        f"a step needs unrolled layers and {config.layers} caches, got "
        f"scan_layers={config.scan_layers} and {len(caches)}"
      )
    if config.scan_layers:
      stack = nn.scan(
        block,
        variable_axes={"params": 0},
        split_rngs={"params": True, "dropout": True},
        in_axes=nn.broadcast,
        length=config.layers,
        metadata_params={nn.PARTITION_NAME: "layers"},
      )
      x, _ = stack(config, deterministic, name="layers")(x, bias, valid)
      return Norm(config, name="norm")(x), ()
    kept = []
    for i in range(config.layers):
      layer = block(config, deterministic, name=f"layer_{i}")
      if caches:
        x, cache = layer.step(x, caches[i], bias=bias, slot=slot, write=write)
      else:
        x, cache = layer(x, bias, valid)
      kept.append(cache)
    return Norm(config, name="norm")(x, axis=0 if caches else -1), tuple(kept)
