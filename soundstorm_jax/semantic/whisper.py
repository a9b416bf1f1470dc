"""Whisper's encoder (arXiv 2212.04356, section 2.2), to read and not to train.

It has heard 680,000 hours of speech. Beneath the Conformer of the semantic
tokens it stands for what the paper's own tokens have, a network that a large
corpus taught. Two convolutions halve the rate of log-mel frames; pre-norm
Transformer blocks with absolute positions follow.

The original is given 30 s, silence after the speech included. Here frames that
are not valid are never attended to and are 0 for the convolutions, as beyond
both ends, so the features do not depend on padding.

Axes: B batch, P log-mel frames of 10 ms, K bins, M mels, S = P / 2 frames of
20 ms, D width.
"""

import functools
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from soundstorm_jax.layers import features
from soundstorm_jax.layers.attention import attention
from soundstorm_jax.semantic.config import WhisperConfig

# The kind of a file of weights.
KIND = "whisper"
WINDOW_SECONDS = 0.025
_FLOOR = 1e-10
# What lies further below the loudest is cut off, in powers of ten.
_RANGE = 8.0
_NORM_EPSILON = 1e-5
_LONGEST_PERIOD = 10_000.0
# Of 10 ms. Beyond 30 s it has heard nothing, and its features fall apart.
LONGEST_FRAMES = 3000
_STRIDE_FRAMES = 2000
# Slaney's mel scale: linear up to 1 kHz, logarithmic above.
_LINEAR_HZ = 200 / 3
_BREAK_HZ = 1000.0
_LOG_STEP = np.log(6.4) / 27


def log_mel(
  magnitudes: Float[Array, "B P K"], *, mels: int, sample_rate: int
) -> Float[Array, "B P M"]:
  """Power on Slaney's mel scale, as powers of ten.

  Args:
    magnitudes: of `features.magnitudes`.
    mels: M.
    sample_rate: of the audio, in Hz.
  """
  window = 2 * (magnitudes.shape[-1] - 1)
  power = jnp.square(magnitudes * (window / 2))
  filters = _filters(window=window, mels=mels, sample_rate=sample_rate)
  return jnp.log10(jnp.maximum(power @ filters, _FLOOR))


def normalise(
  mel: Float[Array, "B P M"], valid: Bool[Array, "B P"]
) -> Float[Array, "B P M"]:
  """The encoder's input: what is far below the loudest is cut off, and scaled.

  Frames that are not valid become 0.
  """
  top = mel.max(
    axis=(1, 2), keepdims=True, where=valid[:, :, None], initial=-10
  )
  return valid[:, :, None] * (jnp.maximum(mel, top - _RANGE) + 4.0) / 4.0


@functools.cache
def _filters(
  *, window: int, mels: int, sample_rate: int
) -> Float[np.ndarray, "K M"]:
  """Triangles of equal area, evenly spaced on Slaney's mel scale."""
  break_mel = _BREAK_HZ / _LINEAR_HZ
  top = break_mel + np.log(sample_rate / 2 / _BREAK_HZ) / _LOG_STEP
  places = np.linspace(0.0, top, mels + 2)
  edges = np.where(
    places < break_mel,
    places * _LINEAR_HZ,
    _BREAK_HZ * np.exp(_LOG_STEP * (places - break_mel)),
  )
  bins = np.arange(window // 2 + 1) * sample_rate / window
  filters = features.triangles(edges, bins) * 2.0 / (edges[2:] - edges[:-2])
  return filters.astype(np.float32)


def encode(
  params: Mapping[str, Any],
  mel: Float[Array, "B P M"],
  valid: Bool[Array, "B P"],
  *,
  config: WhisperConfig,
) -> Float[Array, "B S D"]:
  """Features of recordings of any length.

  One of more than 30 s is heard in windows of 30 s, 20 s apart. From each its
  middle 20 s are taken; from the first and the last, what is before and after,
  too.

  Args:
    params: of `WhisperEncoder`.
    mel: of `normalise`; P is even.
    valid: frames of the recording, its padding after it.
    config: sizes.
  """
  rows, frames, mels = mel.shape
  apply = functools.partial(WhisperEncoder(config).apply, {"params": params})
  if frames <= LONGEST_FRAMES:
    return apply(mel, valid)
  windows = 1 - (LONGEST_FRAMES - frames) // _STRIDE_FRAMES
  index = np.arange(windows)[:, None] * _STRIDE_FRAMES
  index = index + np.arange(LONGEST_FRAMES)
  padding = ((0, 0), (0, int(index.max()) + 1 - frames))
  heard = apply(
    jnp.pad(mel, (*padding, (0, 0)))[:, index].reshape(
      -1, index.shape[1], mels
    ),
    jnp.pad(valid, padding)[:, index].reshape(-1, index.shape[1]),
  )
  heard = heard.reshape(rows, windows, LONGEST_FRAMES // 2, config.dim)
  # By a recording's own length, so that padding makes no window the last.
  last = (valid.sum(1) - LONGEST_FRAMES + _STRIDE_FRAMES - 1) // _STRIDE_FRAMES
  stride = _STRIDE_FRAMES // 2
  place = jnp.arange(frames // 2)
  window = (place - (LONGEST_FRAMES - _STRIDE_FRAMES) // 4) // stride
  window = jnp.clip(window, 0, jnp.maximum(last, 0)[:, None])
  return heard[jnp.arange(rows)[:, None], window, place - stride * window]


class WhisperEncoder(nn.Module):
  """Normalised log-mel frames of up to 30 s to features at half their rate.

  Attributes:
    config: sizes.
  """

  config: WhisperConfig

  @nn.compact
  def __call__(
    self, mel: Float[Array, "B P M"], valid: Bool[Array, "B P"]
  ) -> Float[Array, "B S D"]:
    """Features of all frames; those of padding mean nothing.

    Args:
      mel: of `normalise`; P is even.
      valid: frames of the recording.

    Raises:
      ValueError: P is odd.
    """
    if mel.shape[1] % 2:
      raise ValueError(f"frames must be even in number, got {mel.shape[1]}")
    dim = self.config.dim
    x = nn.gelu(Convolution(dim, name="conv1")(mel), approximate=False)
    x = Convolution(dim, stride=2, name="conv2")(x * valid[:, :, None])
    x = nn.gelu(x, approximate=False) + positions(x.shape[1], dim)
    for layer in range(self.config.layers):
      x = Block(self.config, name=f"layer_{layer}")(x, valid[:, ::2])
    return _norm("norm")(x)


class Convolution(nn.Module):
  """Three taps, zeros beyond both ends.

  Attributes:
    dim: width of the output.
    stride: the output has a frame for every so many.
  """

  dim: int
  stride: int = 1

  @nn.compact
  def __call__(self, x: Float[Array, "B T C"]) -> Float[Array, "B T2 D"]:
    """Convolves along the frames."""
    kernel = self.param(
      "kernel",
      nn.initializers.lecun_normal(in_axis=(0, 1)),
      (3, x.shape[-1], self.dim),
    )
    bias = self.param("bias", nn.initializers.zeros, (self.dim,))
    frames = x.shape[1]
    padded = jnp.pad(x, ((0, 0), (1, 1), (0, 0)))
    taps = (padded[:, i : i + frames : self.stride] for i in range(3))
    return sum(tap @ kernel[i] for i, tap in enumerate(taps)) + bias


class Block(nn.Module):
  """Self-attention and feed-forward, each beside a residual stream.

  Attributes:
    config: sizes.
  """

  config: WhisperConfig

  @nn.compact
  def __call__(
    self, x: Float[Array, "B S D"], valid: Bool[Array, "B S"]
  ) -> Float[Array, "B S D"]:
    """The stream after the block."""
    config = self.config
    y = _norm("attention_norm")(x)
    heads = (config.heads, config.dim // config.heads)
    query, key, value = (
      part.reshape(*part.shape[:2], *heads)
      for part in jnp.split(nn.Dense(3 * config.dim, name="qkv")(y), 3, axis=-1)
    )
    y = attention(query, key, value, valid=valid)
    x = x + nn.Dense(config.dim, name="out")(y.reshape(x.shape))
    y = nn.Dense(4 * config.dim, name="expand")(_norm("ff_norm")(x))
    y = jax.nn.gelu(y, approximate=False)
    return x + nn.Dense(config.dim, name="project")(y)


def _norm(name: str) -> nn.LayerNorm:
  return nn.LayerNorm(epsilon=_NORM_EPSILON, name=name)


def positions(frames: int, dim: int) -> Float[np.ndarray, "S D"]:
  """Sines, then cosines, of every frame's number."""
  half = dim // 2
  rates = _LONGEST_PERIOD ** (-np.arange(half) / (half - 1))
  angles = np.arange(frames)[:, None] * rates
  both = np.concatenate([np.sin(angles), np.cos(angles)], axis=1)
  return both.astype(np.float32)
