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

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from soundstorm_jax.layers.attention import attention
from soundstorm_jax.layers.config import ConformerConfig
from soundstorm_jax.layers.convolutions import depthwise_convolution
from soundstorm_jax.layers.rotary import apply_rotary, rotary_angles

_CONV_EXPANSION = 2
_NORM_EPSILON = 1e-5
_ACTIVATION_AXES = ("act_batch", "act_time", "act_embed")


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
