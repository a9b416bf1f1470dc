"""Mel-frequency cepstra with their first and second differences.

Computed four times as often as asked for, over windows of three hops, and
averaged over the four frames of a token: at 25 tokens a second that is the
usual 10 ms hop and 30 ms window. An utterance is taken to stand in silence, so
a token depends neither on padding nor on other utterances.

Axes: B batch, N samples, F fine frames, S tokens, M mels, C coefficients.
"""

import jax
import jax.numpy as jnp
import numpy as np
import scipy.fft
from jaxtyping import Array, Float, Int

from soundstorm_jax.layers import features
from soundstorm_jax.semantic.config import KMeansConfig

MELS = 40
_FRAMES_PER_TOKEN = 4
_WINDOW_HOPS = 3
# Frames on each side that the differences of differences reach to.
_REACH = 4
# Well below the noise of a recording, and far above that of float32.
_FLOOR = 1e-5


def feature_count(config: KMeansConfig) -> int:
  """Dimensions of a feature vector: coefficients, and two differences."""
  return 3 * config.coefficients


def mfcc(
  audio: Float[Array, "B N"],
  lengths: Int[Array, "B"],
  *,
  config: KMeansConfig,
) -> Float[Array, "B S C"]:
  """Features of ceil(N * tokens_per_second / sample_rate) tokens.

  Args:
    audio: in [-1, 1].
    lengths: samples of each row that count; the others are taken as silence.
    config: rates and number of coefficients.

  Returns:
    float32; C is `feature_count(config)`: the cepstra (with the 0th, the
    level), then their slope over time, then the slope of that.

  Raises:
    ValueError: more coefficients than mels, or a token is not a whole number
      of hops.
  """
  hop, remainder = divmod(
    config.sample_rate, config.tokens_per_second * _FRAMES_PER_TOKEN
  )
  if remainder:
    raise ValueError(
      f"sample_rate must be a multiple of {_FRAMES_PER_TOKEN} * "
      f"tokens_per_second, got {config.sample_rate} and "
      f"{config.tokens_per_second}"
    )
  if config.coefficients > MELS:
    raise ValueError(
      f"coefficients must be at most {MELS}, got {config.coefficients}"
    )
  samples = audio.shape[1]
  tokens = -(-samples // (hop * _FRAMES_PER_TOKEN))
  silent = jnp.arange(samples) >= lengths[:, None]
  audio = jnp.where(silent, 0.0, audio)
  # The window of a frame is centred on the frame's own hop.
  before = (_REACH + _WINDOW_HOPS // 2) * hop
  after = before + tokens * _FRAMES_PER_TOKEN * hop - samples
  audio = jnp.pad(audio, ((0, 0), (before, after)))
  # Matrix units round their inputs unless told otherwise, and a rounding
  # error here can move a vector to another cluster.
  with jax.default_matmul_precision("highest"):
    mel = features.mel_spectrogram(
      audio,
      sample_rate=config.sample_rate,
      window=_WINDOW_HOPS * hop,
      hop=hop,
      mels=MELS,
    )
    basis = scipy.fft.dct(np.eye(MELS), norm="ortho")[:, : config.coefficients]
    cepstra = jnp.log(mel + _FLOOR) @ basis.astype(np.float32)
  slope = _slope(cepstra)
  bend = _slope(slope)
  frames = tokens * _FRAMES_PER_TOKEN
  stacked = jnp.concatenate(
    [_middle(part, frames) for part in (cepstra, slope, bend)], axis=-1
  )
  rows, _, width = stacked.shape
  fine = stacked.reshape(rows, tokens, _FRAMES_PER_TOKEN, width)
  return fine.mean(axis=2)


def _slope(values: jax.Array) -> jax.Array:
  """The least-squares slope over five frames; two fewer at each end."""
  count = values.shape[1] - 4
  return sum(
    step * (values[:, 2 + step :][:, :count] - values[:, 2 - step :][:, :count])
    for step in (1, 2)
  ) / (2 * (1 + 4))


def _middle(values: jax.Array, count: int) -> jax.Array:
  skip = (values.shape[1] - count) // 2
  return values[:, skip : skip + count]
