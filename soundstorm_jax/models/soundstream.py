"""SoundStream's encoder and decoder (arXiv 2107.03312, section III-A).

Causal one-dimensional convolutions, ELU, no normalization. The encoder halves
nothing it cannot give back: each block has three residual units with dilations
1, 3 and 9, then a strided convolution that doubles the channels; the decoder
mirrors it. The quantizer between them is in `quantizer.py`; `codec.py` puts the
three together for inference.

With `mdct_hop` above 1, which is not in the paper, the first and the last
convolution work on a lapped transform instead of samples, and a matrix leads
around either network. Set to the principal components of speech
(`training/codec_start.py`) the matrices alone are already a codec, which the
networks, zero at first, only have to improve: what a few CPU hours allow.

Axis letters: B batch, N samples, T frames, C channels, D latent width.
"""

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from soundstorm_jax.config import SoundStreamConfig
from soundstorm_jax.lapped import inverse_mdct, mdct

DILATIONS = (1, 3, 9)


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


def _linear_init():
  return nn.with_logical_partitioning(
    nn.initializers.orthogonal(), ("conv_in", "conv_out")
  )


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


def _tilt(config: SoundStreamConfig) -> Float[Array, "H"]:
  """Weights that level the spectrum of speech, so that no band is lost."""
  hop = config.mdct_hop
  hertz = (jnp.arange(hop) + 0.5) * config.sample_rate / (2 * hop)
  return 10.0 * jnp.sqrt(1.0 + hertz / 300.0)


def lapped_signal(
  config: SoundStreamConfig, audio: Float[Array, "B N"]
) -> Float[Array, "B T H"]:
  """What the encoder of a codec with `mdct_hop` above 1 reads."""
  return mdct(audio, config.mdct_hop) * _tilt(config)


class Encoder(nn.Module):
  """Audio (B, N) to latents (B, N / hop, D)."""

  config: SoundStreamConfig

  @nn.compact
  def __call__(self, audio: Float[Array, "B N"]) -> Float[Array, "B T D"]:
    config = self.config
    dtype = config.dtype
    channels = config.encoder_channels
    lapped = config.mdct_hop > 1
    signal = lapped_signal(config, audio) if lapped else audio[..., None]
    x = CausalConv(channels, 7, dtype=dtype)(signal)
    for stride in config.strides:
      for dilation in DILATIONS:
        x = ResidualUnit(dilation, dtype=dtype)(x)
      channels *= 2
      x = Downsample(channels, stride, dtype=dtype)(elu(x))
    x = CausalConv(config.dim, 3, start_at_zero=lapped, dtype=dtype)(elu(x))
    x = x.astype(jnp.float32)
    if lapped:
      x += self._linear(signal, frames=x.shape[1])
    return x

  def _linear(self, signal, *, frames):
    blocks = signal.reshape(signal.shape[0], frames, -1)
    kernel = self.param(
      "linear", _linear_init(), (blocks.shape[-1], self.config.dim)
    )
    return blocks @ kernel


class Decoder(nn.Module):
  """Latents (B, T, D) to audio (B, T * hop)."""

  config: SoundStreamConfig

  @nn.compact
  def __call__(self, latents: Float[Array, "B T D"]) -> Float[Array, "B N"]:
    config = self.config
    dtype = config.dtype
    lapped = config.mdct_hop > 1
    channels = config.decoder_channels * 2 ** len(config.strides)
    x = CausalConv(channels, 7, dtype=dtype)(latents)
    for stride in reversed(config.strides):
      channels //= 2
      x = Upsample(channels, stride, dtype=dtype)(elu(x))
      for dilation in DILATIONS:
        x = ResidualUnit(dilation, dtype=dtype)(x)
    x = CausalConv(config.mdct_hop, 7, start_at_zero=lapped, dtype=dtype)(
      elu(x)
    )
    x = x.astype(jnp.float32)
    if not lapped:
      return x[..., 0]
    x += self._linear(latents, shape=x.shape)
    return inverse_mdct(x / _tilt(config))

  def _linear(self, latents, *, shape):
    kernel = self.param(
      "linear", _linear_init(), (self.config.dim, self.config.hop)
    )
    return (latents @ kernel).reshape(shape)


class SoundStream(nn.Module):
  """Encoder and decoder; call `apply` with `method` for one of them.

  Raises ValueError from `encode` if the samples do not fill whole frames.
  """

  config: SoundStreamConfig

  def setup(self):
    self.encoder = Encoder(self.config)
    self.decoder = Decoder(self.config)

  def encode(self, audio: Float[Array, "B N"]) -> Float[Array, "B T D"]:
    if audio.shape[1] % self.config.hop:
      raise ValueError(
        f"audio has {audio.shape[1]} samples, not a multiple of the hop "
        f"{self.config.hop}"
      )
    return self.encoder(audio)

  def decode(self, latents: Float[Array, "B T D"]) -> Float[Array, "B N"]:
    return self.decoder(latents)

  def __call__(self, audio: Float[Array, "B N"]) -> Float[Array, "B N"]:
    """The unquantized round trip; parameters are initialized through it."""
    return self.decode(self.encode(audio))
