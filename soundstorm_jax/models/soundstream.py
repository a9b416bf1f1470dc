"""SoundStream's encoder and decoder (arXiv 2107.03312, section III-A).

Causal one-dimensional convolutions, ELU, no normalization. The encoder halves
nothing it cannot give back: each block has three residual units with dilations
1, 3 and 9, then a strided convolution that doubles the channels; the decoder
mirrors it. The quantizer between them is in `quantizer.py`; `codec.py` puts the
three together for inference.

Axis letters: B batch, N samples, T frames, C channels, D latent width.
"""

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from soundstorm_jax.config import SoundStreamConfig
from soundstorm_jax.models.convolutions import (
  CausalConv,
  Downsample,
  ResidualUnit,
  Upsample,
  elu,
)

DILATIONS = (1, 3, 9)


class Encoder(nn.Module):
  """Audio (B, N) to latents (B, N / hop, D)."""

  config: SoundStreamConfig

  @nn.compact
  def __call__(self, audio: Float[Array, "B N"]) -> Float[Array, "B T D"]:
    config = self.config
    dtype = config.dtype
    channels = config.encoder_channels
    x = CausalConv(channels, 7, dtype=dtype)(audio[..., None])
    for stride in config.strides:
      for dilation in DILATIONS:
        x = ResidualUnit(dilation, dtype=dtype)(x)
      channels *= 2
      x = Downsample(channels, stride, dtype=dtype)(elu(x))
    x = CausalConv(config.dim, 3, dtype=dtype)(elu(x))
    return x.astype(jnp.float32)


class Decoder(nn.Module):
  """Latents (B, T, D) to audio (B, T * hop)."""

  config: SoundStreamConfig

  @nn.compact
  def __call__(self, latents: Float[Array, "B T D"]) -> Float[Array, "B N"]:
    config = self.config
    dtype = config.dtype
    channels = config.decoder_channels * 2 ** len(config.strides)
    x = CausalConv(channels, 7, dtype=dtype)(latents)
    for stride in reversed(config.strides):
      channels //= 2
      x = Upsample(channels, stride, dtype=dtype)(elu(x))
      for dilation in DILATIONS:
        x = ResidualUnit(dilation, dtype=dtype)(x)
    x = CausalConv(1, 7, dtype=dtype)(elu(x))
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
