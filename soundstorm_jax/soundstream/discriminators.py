"""SoundStream's discriminators (arXiv 2107.03312, section III-D).

One on the waveform at three scales, one on the complex STFT (window 1024, hop
256). Each gives logits over time and the features of every layer, which the
feature-matching loss compares.

The light ones, not in the paper, read the complex STFT of three windows with
all its bins as channels, so that they are convolutions over frames alone: on a
CPU a fiftieth of the paper's time.

Axis letters: B batch, N samples, F spectral frames, K bins, C channels.
"""

from typing import NamedTuple

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from soundstorm_jax.layers.convolutions import GroupedConv, leaky_relu
from soundstorm_jax.layers.features import compressed_spectrum, stft

WAVE_SCALES = 3
LIGHT_WINDOWS = (256, 512, 1024)


class Judgement(NamedTuple):
  """One discriminator's view.

  Attributes:
    logits: over time; positive means real.
    features: activations of every layer but the last.
  """

  logits: Array
  features: tuple[Array, ...]


def _conv(features, kernel, *, strides=1, groups=1):
  """A convolution with its logical axes; one or two spatial dimensions."""
  dims = len(kernel)
  strides = (strides,) * dims if isinstance(strides, int) else strides
  kernel_axes = ("conv_kernel",) + (None,) * (dims - 1)
  return nn.Conv(
    features,
    kernel,
    strides=strides,
    feature_group_count=groups,
    kernel_init=nn.with_logical_partitioning(
      nn.initializers.lecun_normal(), (*kernel_axes, "conv_in", "conv_out")
    ),
    bias_init=nn.with_logical_partitioning(
      nn.initializers.zeros, ("conv_out",)
    ),
  )


class WaveDiscriminator(nn.Module):
  """A stack of grouped, strided convolutions over samples."""

  channels: int

  @nn.compact
  def __call__(self, audio: Float[Array, "B N"]) -> Judgement:
    width = self.channels
    features = []
    x = nn.leaky_relu(_conv(width, (15,))(audio[..., None]), 0.2)
    features.append(x)
    for _ in range(4):
      width = min(4 * width, 32 * self.channels)
      groups = x.shape[-1] // 4
      x = _conv(width, (41,), strides=4, groups=max(groups, 1))(x)
      x = nn.leaky_relu(x, 0.2)
      features.append(x)
    x = nn.leaky_relu(_conv(width, (5,))(x), 0.2)
    features.append(x)
    return Judgement(_conv(1, (3,))(x)[..., 0], tuple(features))


class StftDiscriminator(nn.Module):
  """Residual units over the complex STFT, striding time and frequency."""

  channels: int
  window: int = 1024
  hop: int = 256

  @nn.compact
  def __call__(self, audio: Float[Array, "B N"]) -> Judgement:
    spectrum = stft(audio, window=self.window, hop=self.hop)
    x = jnp.stack([spectrum.real, spectrum.imag], axis=-1)
    # The last bin is dropped so that the bins halve evenly.
    x = x[:, :, :-1] * (16.0 / self.window)
    x = _conv(self.channels, (7, 7))(x)
    features = [x]
    width = self.channels
    for index in range(6):
      # (time, frequency) strides alternate, section III-D.
      strides = ((1, 2), (2, 2))[index % 2]
      following = width * 2 if index in (0, 2, 4) else width
      y = nn.elu(_conv(width, (3, 3))(nn.elu(x)))
      kernel = (strides[0] + 2, strides[1] + 2)
      y = _conv(following, kernel, strides=strides)(y)
      x = y + _conv(following, (1, 1), strides=strides)(x)
      width = following
      features.append(x)
    logits = _conv(1, (1, x.shape[2]))(nn.elu(x))
    return Judgement(jnp.mean(logits, axis=(2, 3)), tuple(features))


class FrameDiscriminator(nn.Module):
  """Convolutions over the frames of a compressed, complex STFT."""

  channels: int
  window: int

  @nn.compact
  def __call__(self, audio: Float[Array, "B N"]) -> Judgement:
    x = compressed_spectrum(audio, window=self.window, hop=self.window // 4)
    features = []
    for kernel in (1, 3, 3, 3):
      x = leaky_relu(GroupedConv(self.channels, kernel)(x))
      features.append(x)
    return Judgement(GroupedConv(1, 3)(x)[..., 0], tuple(features))


class Discriminators(nn.Module):
  """All of them: three waveform scales, each half the rate, and the STFT.

  Args:
    channels: of the widest scale's first layers; of all layers of light ones.
    light: those of three STFTs instead of the paper's.
  """

  channels: int
  light: bool = False

  @nn.compact
  def __call__(self, audio: Float[Array, "B N"]) -> tuple[Judgement, ...]:
    if self.light:
      return tuple(
        FrameDiscriminator(self.channels, window)(audio)
        for window in LIGHT_WINDOWS
      )
    judgements = []
    x = audio
    for _ in range(WAVE_SCALES):
      judgements.append(WaveDiscriminator(self.channels // 2 or 1)(x))
      x = nn.avg_pool(x[..., None], (4,), strides=(2,), padding="SAME")[..., 0]
    judgements.append(StftDiscriminator(self.channels)(audio))
    return tuple(judgements)
