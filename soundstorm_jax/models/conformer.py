"""A bidirectional Conformer (SoundStorm, arXiv 2305.09636, section 2.1).

Each block is a half-step feed-forward, self-attention with rotary positions, a
convolution module, a second half-step feed-forward and a final LayerNorm; every
module reads a normalised copy of the residual stream (pre-norm).

Two choices differ from the Conformer paper (arXiv 2005.08100) or need a word:

* The convolution module normalises with LayerNorm, not BatchNorm: there are no
  running statistics, a frame's output does not depend on the batch, and padding
  cannot leak into it.
* Its inner width is twice the model's, which gives SoundStorm's 350M
  parameters; an inner width equal to the model's gives 316M.

Padding: frames that are not valid are never attended to and are zeroed before
the convolution, so what they hold, and how many there are, does not change the
valid frames. Their own outputs are finite and meaningless.

Logical axis names, which `parallel` maps to mesh axes. Those of parameters:
  layers       the stacked blocks, when scanned
  embed        the model width of a matrix
  mlp          inner widths: feed-forward and convolution
  heads, kv    attention heads and their width
  norm         vectors of the model width: scales and biases
  levels, table, vocab   in `soundstorm`: levels, embedding rows, codes
Those of activations:
  act_batch, act_time, act_embed, act_mlp, act_heads, act_kv, and in
  `soundstorm` act_vocab

Axes: B batch, T frames, D model width, F inner width, H heads, K head width,
P = K / 2 rotary pairs.
"""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from soundstorm_jax.config import ConformerConfig

_CONV_EXPANSION = 2
_ROTARY_BASE = 10_000.0
_NORM_EPSILON = 1e-5
# Finite, so that a row of nothing else is not NaN.
MASKED_SCORE = -1e30
_ACTIVATION_AXES = ("act_batch", "act_time", "act_embed")


def rotary_angles(
  positions: Int[Array, " T"], head_dim: int
) -> tuple[Float[Array, "T P"], Float[Array, "T P"]]:
  """Cosines and sines of the rotary angles (arXiv 2104.09864), in float32.

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


def attention(
  query: Float[Array, "B T H K"],
  key: Float[Array, "B S H K"],
  value: Float[Array, "B S H K"],
  *,
  valid: Bool[Array, "B S"] | None,
  bias: Float[Array, "H T S"] | None = None,
  loop_heads: bool = False,
) -> Float[Array, "B T H K"]:
  """Scaled dot-product attention; the one place where attention is computed.

  The softmax is in float32 whatever the inputs' dtype. A row without a single
  valid frame attends to all alike, which is finite.

  Args:
    query: queries.
    key: keys.
    value: values.
    valid: the frames that may be attended to; None for all.
    bias: added to the scores.
    loop_heads: one head after the other. The numbers are the same; memory
      holds the scores of one head, which is faster on CPU, where those of all
      do not fit the cache, and slower elsewhere.
  """
  query = query * query.shape[-1] ** -0.5
  # Heads before frames: XLA on CPU is faster when the batch axes of both
  # products lead than it is with `jax.nn.dot_product_attention`'s layout.
  if loop_heads and bias is not None:
    raise ValueError("loop_heads takes no bias, got one")
  if loop_heads:
    heads = tuple(x.transpose(2, 0, 1, 3) for x in (query, key, value))
    x = jax.lax.map(lambda head: _attend(*head, valid=valid), heads)
    return x.transpose(1, 2, 0, 3)
  query, key, value = (x.transpose(0, 2, 1, 3) for x in (query, key, value))
  x = _attend(
    query,
    key,
    value,
    valid=None if valid is None else valid[:, None, :],
    bias=bias,
  )
  return x.transpose(0, 2, 1, 3)


def _attend(
  query: Float[Array, "*batch T K"],
  key: Float[Array, "*batch S K"],
  value: Float[Array, "*batch S K"],
  *,
  valid: Bool[Array, "*#batch S"] | None,
  bias: Float[Array, "H T S"] | None = None,
) -> Float[Array, "*batch T K"]:
  """Attention of scaled queries; every axis but the last two is a batch."""
  dtype = query.dtype
  scores = jnp.einsum(
    "...tk,...sk->...ts", query, key, preferred_element_type=jnp.float32
  )
  if bias is not None:
    scores = scores + bias
  if valid is not None:
    scores = jnp.where(valid[..., None, :], scores, MASKED_SCORE)
  top = jax.lax.stop_gradient(scores.max(-1, keepdims=True))
  weights = jnp.exp(scores - top)
  # Divided after the product, over K columns and not over T.
  x = jnp.einsum(
    "...ts,...sk->...tk",
    weights.astype(dtype),
    value,
    preferred_element_type=jnp.float32,
  )
  return (x / weights.sum(-1, keepdims=True)).astype(dtype)


def depthwise_convolution(
  x: Float[Array, "B T F"], kernel: Float[Array, "W F"]
) -> Float[Array, "B T F"]:
  """Convolves every channel with its own kernel; zeros beyond both ends.

  A sum of shifted products: it fuses into one loop, while the grouped
  convolution of XLA is many times slower on CPU.

  Args:
    x: the signal.
    kernel: W taps per channel, W odd; the middle tap meets the frame itself.
  """
  taps, frames = kernel.shape[0], x.shape[1]
  padded = jnp.pad(x, ((0, 0), (taps // 2, taps // 2), (0, 0)))
  return sum(padded[:, i : i + frames] * kernel[i] for i in range(taps))


def _named(init, axes):
  # rules=(): flax's DenseGeneral draws its parameters flattened, and would
  # constrain those by names that are meant for the final shape.
  return nn.with_logical_partitioning(init, axes, rules=())


def _kernel_init(*axes: str | None):
  return _named(nn.initializers.lecun_normal(), axes)


def _zeros_init(*axes: str | None):
  return _named(nn.initializers.zeros, axes)


def _norm(name: str, dtype: jnp.dtype, axis: str = "norm") -> nn.LayerNorm:
  # Flax computes the statistics and the normalisation in float32 and casts the
  # result to `dtype`.
  return nn.LayerNorm(
    epsilon=_NORM_EPSILON,
    dtype=dtype,
    scale_init=nn.with_logical_partitioning(nn.initializers.ones, (axis,)),
    bias_init=_zeros_init(axis),
    name=name,
  )


class FeedForward(nn.Module):
  """LayerNorm, expansion to F, SiLU, projection back to D."""

  config: ConformerConfig

  @nn.compact
  def __call__(self, x: Float[Array, "B T D"]) -> Float[Array, "B T D"]:
    dtype = jnp.dtype(self.config.dtype)
    x = _norm("norm", dtype)(x)
    x = nn.Dense(
      self.config.ff_dim,
      dtype=dtype,
      kernel_init=_kernel_init("embed", "mlp"),
      bias_init=_zeros_init("mlp"),
      name="expand",
    )(x)
    x = nn.with_logical_constraint(x, ("act_batch", "act_time", "act_mlp"))
    return nn.Dense(
      self.config.dim,
      dtype=dtype,
      kernel_init=_kernel_init("mlp", "embed"),
      bias_init=_zeros_init("norm"),
      name="project",
    )(nn.silu(x))


class SelfAttention(nn.Module):
  """LayerNorm, multi-head self-attention with rotary positions."""

  config: ConformerConfig
  loop_heads: bool = False

  @nn.compact
  def __call__(
    self,
    x: Float[Array, "B T D"],
    *,
    valid: Bool[Array, "B T"] | None,
    angles: tuple[Float[Array, "T P"], Float[Array, "T P"]],
  ) -> Float[Array, "B T D"]:
    config, dtype = self.config, jnp.dtype(self.config.dtype)
    x = _norm("norm", dtype)(x)
    # One product for queries, keys and values.
    qkv = nn.DenseGeneral(
      (3, config.heads, config.dim // config.heads),
      use_bias=False,
      dtype=dtype,
      kernel_init=_kernel_init("embed", None, "heads", "kv"),
      name="qkv",
    )(x)
    qkv = nn.with_logical_constraint(
      qkv, ("act_batch", "act_time", None, "act_heads", "act_kv")
    )
    query, key, value = (qkv[:, :, i] for i in range(3))
    x = attention(
      apply_rotary(query, angles),
      apply_rotary(key, angles),
      value,
      valid=valid,
      loop_heads=self.loop_heads,
    )
    return nn.DenseGeneral(
      config.dim,
      axis=(-2, -1),
      use_bias=False,
      dtype=dtype,
      kernel_init=_kernel_init("heads", "kv", "embed"),
      name="out",
    )(x)


class ConvolutionModule(nn.Module):
  """LayerNorm, pointwise, GLU, depthwise, LayerNorm, SiLU, pointwise."""

  config: ConformerConfig

  @nn.compact
  def __call__(
    self, x: Float[Array, "B T D"], *, valid: Bool[Array, "B T"] | None
  ) -> Float[Array, "B T D"]:
    config, dtype = self.config, jnp.dtype(self.config.dtype)
    inner = _CONV_EXPANSION * config.dim
    x = _norm("norm", dtype)(x)
    # The halves of the GLU have an axis of their own, so that sharding the
    # inner width keeps a value and its gate on one device.
    x = nn.DenseGeneral(
      (2, inner),
      dtype=dtype,
      kernel_init=_kernel_init("embed", None, "mlp"),
      bias_init=_zeros_init(None, "mlp"),
      name="expand",
    )(x)
    x = nn.with_logical_constraint(
      x, ("act_batch", "act_time", None, "act_mlp")
    )
    x = x[:, :, 0] * nn.sigmoid(x[:, :, 1])
    if valid is not None:
      x = jnp.where(valid[:, :, None], x, jnp.zeros((), dtype))
    kernel = self.param(
      "depthwise",
      _kernel_init(None, "mlp"),
      (config.conv_kernel, inner),
    )
    x = depthwise_convolution(x, kernel.astype(dtype))
    x = nn.silu(_norm("depthwise_norm", dtype, "mlp")(x))
    return nn.Dense(
      config.dim,
      dtype=dtype,
      kernel_init=_kernel_init("mlp", "embed"),
      bias_init=_zeros_init("norm"),
      name="project",
    )(x)


class ConformerBlock(nn.Module):
  """One block; returns (output, None), the form that `nn.scan` asks for."""

  config: ConformerConfig
  deterministic: bool = True
  loop_heads: bool = False

  @nn.compact
  def __call__(
    self,
    x: Float[Array, "B T D"],
    valid: Bool[Array, "B T"] | None,
    angles: tuple[Float[Array, "T P"], Float[Array, "T P"]],
  ) -> tuple[Float[Array, "B T D"], None]:
    config = self.config

    def add(x, update, *, scale=1.0):
      update = nn.Dropout(config.dropout, deterministic=self.deterministic)(
        update
      )
      return nn.with_logical_constraint(x + scale * update, _ACTIVATION_AXES)

    with jax.named_scope("feed_forward_in"):
      x = add(x, FeedForward(config, name="feed_forward_in")(x), scale=0.5)
    with jax.named_scope("attention"):
      update = SelfAttention(config, self.loop_heads, name="attention")(
        x, valid=valid, angles=angles
      )
      x = add(x, update)
    with jax.named_scope("convolution"):
      x = add(x, ConvolutionModule(config, name="convolution")(x, valid=valid))
    with jax.named_scope("feed_forward_out"):
      x = add(x, FeedForward(config, name="feed_forward_out")(x), scale=0.5)
    return _norm("norm", jnp.dtype(config.dtype))(x), None


class Conformer(nn.Module):
  """A stack of Conformer blocks; its output is normalised.

  With `config.scan_layers` the parameters of all blocks are stacked along axis
  0 under `layers` and the program is compiled for one block; without it they
  are `layer_0`, `layer_1`, ... (`stack_layers` and `unstack_layers` convert).
  With `config.remat` a block's activations are recomputed in the backward pass.

  Attributes:
    config: sizes, dtype, how it is compiled.
    loop_heads: see `attention`.
  """

  config: ConformerConfig
  loop_heads: bool = False

  @nn.compact
  def __call__(
    self,
    x: Float[Array, "B T D"],
    valid: Bool[Array, "B T"] | None = None,
    *,
    deterministic: bool = True,
  ) -> Float[Array, "B T D"]:
    """Transforms a batch of sequences.

    Args:
      x: the frames.
      valid: the frames that hold data; None when all do, which is faster.
      deterministic: no dropout; with it off, a `dropout` RNG is needed.

    Returns:
      The frames, normalised, in the compute dtype of the config.

    Raises:
      ValueError: the width of `x` is not the config's.
    """
    config = self.config
    if x.shape[-1] != config.dim:
      raise ValueError(
        f"the input's width must be {config.dim}, got {x.shape[-1]}"
      )
    x = nn.with_logical_constraint(
      x.astype(jnp.dtype(config.dtype)), _ACTIVATION_AXES
    )
    angles = rotary_angles(jnp.arange(x.shape[1]), config.dim // config.heads)
    block = ConformerBlock
    if config.remat:
      # A scan is a barrier already: without it, common subexpression
      # elimination would undo the recomputation.
      block = nn.remat(block, prevent_cse=not config.scan_layers)
    if config.scan_layers:
      stack = nn.scan(
        block,
        variable_axes={"params": 0},
        split_rngs={"params": True, "dropout": True},
        in_axes=nn.broadcast,
        length=config.layers,
        metadata_params={nn.PARTITION_NAME: "layers"},
      )
      layers = stack(config, deterministic, self.loop_heads, name="layers")
      return layers(x, valid, angles)[0]
    for i in range(config.layers):
      layer = block(config, deterministic, self.loop_heads, name=f"layer_{i}")
      x, _ = layer(x, valid, angles)
    return x


def stack_layers(params: Mapping[str, Any]) -> dict[str, Any]:
  """Parameters of an unrolled Conformer -> those of a scanned one.

  Args:
    params: `{"layer_0": ..., "layer_1": ...}`, unboxed arrays.
  """
  layers = [params[f"layer_{i}"] for i in range(len(params))]
  return {"layers": jax.tree.map(lambda *leaves: jnp.stack(leaves), *layers)}


def unstack_layers(params: Mapping[str, Any]) -> dict[str, Any]:
  """The inverse of `stack_layers`."""
  stacked = params["layers"]
  count = jax.tree.leaves(stacked)[0].shape[0]
  return {
    f"layer_{i}": jax.tree.map(lambda leaf, i=i: leaf[i], stacked)
    for i in range(count)
  }
