"""Causal convolutions of the codec (SoundStream, arXiv 2107.03312, III-A).

ELU, no normalization. Strided convolutions are written as matrix products over
blocks: the same functions, whose gradients compilers make fast on CPUs.

Axis letters: B batch, N samples, T frames, C and E channels.
"""

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float


def _kernel_init(*, zeros=False):
  init = nn.initializers.zeros if zeros else nn.initializers.lecun_normal()
  return nn.with_logical_partitioning(
    init, ("conv_kernel", "conv_in", "conv_out")
  )


def _bias_init():
  return nn.with_logical_partitioning(nn.initializers.zeros, ("conv_out",))


def elu(x: Float[Array, "..."]) -> Float[Array, "..."]:
  """Exponential linear unit; of `nn.elu`, a third of the time on CPUs, which
  take an exponential far faster than its accurate difference from 1."""
  return jnp.where(x > 0, x, jnp.exp(jnp.minimum(x, 0)) - 1)


class CausalConv(nn.Module):
  """Convolution that sees the present and the past: (B, N, C) -> (B, N, C')."""

  features: int
  kernel: int
  dilation: int = 1
  start_at_zero: bool = False
  dtype: str = "float32"

  @nn.compact
  def __call__(self, x: Float[Array, "B N C"]) -> Float[Array, "B N E"]:
    return nn.Conv(
      self.features,
      (self.kernel,),
      kernel_dilation=(self.dilation,),
      padding=(((self.kernel - 1) * self.dilation, 0),),
      dtype=self.dtype,
      kernel_init=_kernel_init(zeros=self.start_at_zero),
      bias_init=_bias_init(),
    )(x)


class Downsample(nn.Module):
  """Causal strided convolution, kernel twice the stride.

  As one matrix product over pairs of neighbouring blocks: the same function as
  a strided convolution, whose gradient compilers make slow on CPUs.
  """

  features: int
  stride: int
  dtype: str = "float32"

  @nn.compact
  def __call__(self, x: Float[Array, "B N C"]) -> Float[Array, "B T E"]:
    batch, samples, channels = x.shape
    blocks = x.reshape(batch, samples // self.stride, self.stride * channels)
    before = jnp.pad(blocks, ((0, 0), (1, 0), (0, 0)))[:, :-1]
    kernel = self.param(
      "kernel",
      _kernel_init(),
      (2 * self.stride, channels, self.features),
    )
    bias = self.param("bias", _bias_init(), (self.features,))
    pairs = jnp.concatenate([before, blocks], axis=-1).astype(self.dtype)
    kernel = kernel.reshape(-1, self.features).astype(self.dtype)
    return pairs @ kernel + bias.astype(self.dtype)


class Upsample(nn.Module):
  """Causal transposed convolution, kernel twice the stride.

  Each frame writes two blocks of `stride` samples, its own and the next, which
  overlap and add; again as one matrix product.
  """

  features: int
  stride: int
  dtype: str = "float32"

  @nn.compact
  def __call__(self, x: Float[Array, "B T C"]) -> Float[Array, "B N E"]:
    batch, frames, channels = x.shape
    kernel = self.param(
      "kernel",
      _kernel_init(),
      (2 * self.stride, channels, self.features),
    )
    bias = self.param("bias", _bias_init(), (self.features,))
    kernel = jnp.moveaxis(kernel, 1, 0).reshape(channels, -1)
    blocks = x.astype(self.dtype) @ kernel.astype(self.dtype)
    own, following = jnp.split(blocks, 2, axis=-1)
    own += jnp.pad(following, ((0, 0), (1, 0), (0, 0)))[:, :-1]
    shape = (batch, frames * self.stride, self.features)
    return own.reshape(shape) + bias.astype(self.dtype)


class ResidualUnit(nn.Module):
  """ELU, dilated convolution of 7, ELU, convolution of 1, and the input."""

  dilation: int
  dtype: str = "float32"

  @nn.compact
  def __call__(self, x: Float[Array, "B N C"]) -> Float[Array, "B N C"]:
    channels = x.shape[-1]
    y = CausalConv(channels, 7, dilation=self.dilation, dtype=self.dtype)(
      elu(x)
    )
    # Without normalization, twenty-four units that each add noise would drown
    # the signal; starting at zero they begin as the identity.
    return x + CausalConv(channels, 1, start_at_zero=True, dtype=self.dtype)(
      elu(y)
    )
