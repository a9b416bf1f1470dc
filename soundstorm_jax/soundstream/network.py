"""SoundStream's encoder and decoder (arXiv 2107.03312, section III-A).

Causal one-dimensional convolutions, no normalization. Each block of the encoder
has three residual units with dilations 1, 3 and 9, then a strided convolution
that doubles the channels; the decoder mirrors it. The quantizer between them is
in `quantizer.py`; `codec.py` puts the three together for inference.

The paper's network computes most of its products at the sample rate. A light
one (`patch`, `separable`, `group_width` and `activation` of its config, the
network of Lyra V2) takes 16 samples at once and has a tenth of the weights.

Axis letters: B batch, N samples, T frames, C channels, D latent width.
"""

from collections.abc import Callable

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from soundstorm_jax.layers.convolutions import (
  CausalConv,
  Downsample,
  GroupedConv,
  ResidualUnit,
  SeparableUnit,
  Upsample,
  elu,
  leaky_relu,
)
from soundstorm_jax.soundstream.config import SoundStreamConfig

DILATIONS = (1, 3, 9)
# Of a patch's convolution, in patches.
PATCH_BLOCKS = 4


def _activation(config: SoundStreamConfig) -> Callable:
  return {"elu": elu, "leaky_relu": leaky_relu}[config.activation]


def _groups(config: SoundStreamConfig, channels: int) -> int:
  """Of a block's grouped convolutions."""
  return channels // config.group_width if config.group_width else 1


def _units(config: SoundStreamConfig, x: Array) -> Array:
  """A block's residual units; they are the calling module's."""
  activation = _activation(config)
  for dilation in DILATIONS:
    if config.separable:
      unit = SeparableUnit(
        dilation,
        groups=_groups(config, x.shape[-1]),
        activation=activation,
        dtype=config.dtype,
      )
    else:
      unit = ResidualUnit(dilation, activation=activation, dtype=config.dtype)
    x = unit(x)
  return x


class Encoder(nn.Module):
  """Audio (B, N) to latents (B, N / hop, D)."""

  config: SoundStreamConfig

  @nn.compact
  def __call__(self, audio: Float[Array, "B N"]) -> Float[Array, "B T D"]:
    config = self.config
    dtype = config.dtype
    activation = _activation(config)
    channels = config.encoder_channels
    x = audio[..., None]
    if config.patch == 1:
      x = CausalConv(channels, 7, dtype=dtype)(x)
    else:
      x = Downsample(channels, config.patch, blocks=PATCH_BLOCKS, dtype=dtype)(
        x
      )
    groups = 1
    for stride in config.strides:
      x = _units(config, x)
      groups = _groups(config, channels)
      channels *= 2
      x = Downsample(channels, stride, groups=groups, dtype=dtype)(
        activation(x)
      )
    x = activation(x)
    if config.group_width:
      x = GroupedConv(config.dim, 3, groups=groups, dtype=dtype)(x)
    else:
      x = CausalConv(config.dim, 3, dtype=dtype)(x)
    return x.astype(jnp.float32)


class Decoder(nn.Module):
  """Latents (B, T, D) to audio (B, T * hop)."""

  config: SoundStreamConfig

  @nn.compact
  def __call__(self, latents: Float[Array, "B T D"]) -> Float[Array, "B N"]:
    config = self.config
    dtype = config.dtype
    activation = _activation(config)
    channels = config.decoder_channels * 2 ** len(config.strides)
    kernel = 3 if config.separable else 7
    if config.group_width:
      groups = _groups(config, channels // 2)
      x = GroupedConv(channels, kernel, groups=groups, dtype=dtype)(latents)
    else:
      x = CausalConv(channels, kernel, dtype=dtype)(latents)
    for stride in reversed(config.strides):
      channels //= 2
      x = Upsample(
        channels, stride, groups=_groups(config, channels), dtype=dtype
      )(activation(x))
      x = _units(config, x)
    x = activation(x)
    if config.patch == 1:
      x = CausalConv(1, 7, dtype=dtype)(x)
    else:
      x = Upsample(1, config.patch, blocks=PATCH_BLOCKS, dtype=dtype)(x)
    return x[..., 0].astype(jnp.float32)


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
