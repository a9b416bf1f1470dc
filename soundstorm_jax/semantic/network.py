"""The encoder behind learned semantic tokens, and its heads for training.

A Conformer over log-mel frames, four of them stacked to one at the tokens'
rate, as BEST-RQ does (arXiv 2202.01855, section 4.1), or over what Whisper's
encoder makes of them. The heads read its last layer: codes of the
random-projection quantizer, phones frame by frame, and phones for CTC. The
features that become tokens are those of some layer below.

Axes: B batch, P log-mel frames, M mels, K bins, T token frames, F stacked
channels: 4 M, or two frames of Whisper's; D width.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from soundstorm_jax.layers import features
from soundstorm_jax.layers.conformer import Conformer
from soundstorm_jax.semantic import whisper
from soundstorm_jax.semantic.config import SemanticEncoderConfig

FRAMES_PER_TOKEN = 4
_WINDOW_HOPS = 3
# Well below the noise of a recording, and far above that of float32.
_FLOOR = 1e-5


def hop_of(config: SemanticEncoderConfig) -> int:
  """Samples of a log-mel frame.

  Raises:
    ValueError: a token is not a whole number of frames.
  """
  hop, remainder = divmod(
    config.sample_rate, config.tokens_per_second * FRAMES_PER_TOKEN
  )
  if remainder:
    raise ValueError(
      f"sample_rate must be a multiple of {FRAMES_PER_TOKEN} * "
      f"tokens_per_second, got {config.sample_rate} and "
      f"{config.tokens_per_second}"
    )
  return hop


def _window_of(config: SemanticEncoderConfig) -> int:
  if config.whisper.layers:
    return round(whisper.WINDOW_SECONDS * config.sample_rate)
  return _WINDOW_HOPS * hop_of(config)


def spectrum(
  audio: Float[Array, "B N"],
  lengths: Int[Array, "B"],
  *,
  config: SemanticEncoderConfig,
) -> Float[Array, "B P K"]:
  """Magnitudes of all the frames of ceil(N / samples of a token) tokens.

  Args:
    audio: in [-1, 1].
    lengths: samples of each row that count; the others are taken as silence.
    config: rates.
  """
  hop, window = hop_of(config), _window_of(config)
  samples = audio.shape[1]
  frames = FRAMES_PER_TOKEN * -(-samples // (FRAMES_PER_TOKEN * hop))
  audio = jnp.where(jnp.arange(samples) < lengths[:, None], audio, 0.0)
  # The window of a frame is centred on the frame's own hop.
  before = (window - hop) // 2
  after = (frames - 1) * hop + window - before - samples
  audio = jnp.pad(audio, ((0, 0), (before, after)))
  return features.magnitudes(audio, window=window, hop=hop)


def log_mel(
  magnitudes: Float[Array, "B P K"], *, config: SemanticEncoderConfig
) -> Float[Array, "B P M"]:
  """Logarithms on the mel scale."""
  filters = features.mel_filterbank(
    window=_window_of(config),
    mels=config.mels,
    sample_rate=config.sample_rate,
  )
  return jnp.log(magnitudes @ filters + _FLOOR)


def normalise(
  mel: Float[Array, "B P M"], valid: Bool[Array, "B P"]
) -> Float[Array, "B P M"]:
  """Mean 0 in every channel and variance 1 over all, of each recording.

  Recording levels and the colour of a microphone are gone then. Frames that are
  not valid become 0.
  """
  weight = valid[:, :, None].astype(jnp.float32)
  count = jnp.maximum(weight.sum(axis=1, keepdims=True), 1.0)
  mel = (mel - (mel * weight).sum(axis=1, keepdims=True) / count) * weight
  power = jnp.square(mel).sum(axis=(1, 2), keepdims=True)
  return mel / jnp.sqrt(power / (count * mel.shape[-1]) + 1e-6)


def stack_frames(mel: Float[Array, "B P M"]) -> Float[Array, "B T F"]:
  """Puts every four frames side by side; P is a multiple of four."""
  rows, frames, mels = mel.shape
  return mel.reshape(rows, frames // FRAMES_PER_TOKEN, FRAMES_PER_TOKEN * mels)


class Listener(NamedTuple):
  """What the Conformer hears of a recording: log-mel frames, or Whisper's.

  Attributes:
    config: of the encoder.
    whisper: parameters of Whisper's encoder; None without one.
  """

  config: SemanticEncoderConfig
  whisper: Mapping[str, Any] | None = None

  @property
  def channels(self) -> int:
    """F."""
    if self.whisper is None:
      return FRAMES_PER_TOKEN * self.config.mels
    return FRAMES_PER_TOKEN // 2 * self.config.whisper.dim

  def log_mel(self, magnitudes: Float[Array, "B P K"]) -> Float[Array, "B P M"]:
    """Before `normalise`: here frames may be moved in time."""
    if self.whisper is None:
      return log_mel(magnitudes, config=self.config)
    return whisper.log_mel(
      magnitudes, mels=self.config.mels, sample_rate=self.config.sample_rate
    )

  def normalise(
    self, mel: Float[Array, "B P M"], valid: Bool[Array, "B P"]
  ) -> Float[Array, "B P M"]:
    """The scale that `frames` takes: here channels may be hidden, as zeros."""
    return (normalise if self.whisper is None else whisper.normalise)(
      mel, valid
    )

  def frames(
    self, mel: Float[Array, "B P M"], valid: Bool[Array, "B P"]
  ) -> Float[Array, "B T F"]:
    """What the Conformer takes, at the tokens' rate."""
    if self.whisper is None:
      return stack_frames(mel)
    heard = whisper.encode(self.whisper, mel, valid, config=self.config.whisper)
    # A few of Whisper's channels are far from 0 whatever is said.
    heard = normalise(heard, valid[:, ::2])
    return heard.reshape(mel.shape[0], -1, self.channels)

  def hear(
    self, magnitudes: Float[Array, "B P K"], valid: Bool[Array, "B P"]
  ) -> Float[Array, "B T F"]:
    """`frames` of a recording as it is."""
    return self.frames(self.normalise(self.log_mel(magnitudes), valid), valid)


class Logits(NamedTuple):
  """What the heads say, in float32.

  Attributes:
    codes: (B, T, codes).
    phones: (B, T, phones).
    ctc: (B, T, 1 + phones), the blank first.
  """

  codes: Float[Array, "B T _"]
  phones: Float[Array, "B T _"]
  ctc: Float[Array, "B T _"]


def dense(width: int, *axes: str | None, name: str | None = None) -> nn.Dense:
  """A layer whose kernel has these logical axes, and its bias the last."""
  return nn.Dense(
    width,
    kernel_init=nn.with_logical_partitioning(
      nn.initializers.lecun_normal(), axes
    ),
    bias_init=nn.with_logical_partitioning(nn.initializers.zeros, axes[1:]),
    name=name,
  )


class SemanticEncoder(nn.Module):
  """Frames to features: `__call__` for tokens, `heads` beside it for training.

  Attributes:
    config: sizes; its number of layers is that of the features.
    codes: of the quantizer.
    phones: number of phones.
  """

  config: SemanticEncoderConfig
  codes: int = 1
  phones: int = 1

  def setup(self):
    dim = self.config.conformer.dim
    self.stem = dense(dim, None, "norm")
    self.conformer = Conformer(self.config.conformer)
    self.code_head = dense(self.codes, "embed", "vocab")
    self.phone_head = dense(self.phones, "embed", "vocab")
    self.ctc_head = dense(1 + self.phones, "embed", "vocab")

  def __call__(
    self,
    frames: Float[Array, "B T F"],
    valid: Bool[Array, "B T"] | None,
    *,
    deterministic: bool = True,
  ) -> Float[Array, "B T D"]:
    """Features of the last layer.

    Args:
      frames: of `Listener`.
      valid: the frames that hold speech.
      deterministic: no dropout.
    """
    return self.conformer(self.stem(frames), valid, deterministic=deterministic)

  def logits(
    self,
    frames: Float[Array, "B T F"],
    valid: Bool[Array, "B T"] | None,
    *,
    deterministic: bool = True,
  ) -> Logits:
    """What the heads make of the last layer; arguments as for `__call__`."""
    features = self(frames, valid, deterministic=deterministic)
    features = features.astype("float32")
    return Logits(
      self.code_head(features),
      self.phone_head(features),
      self.ctc_head(features),
    )


def up_to_layer(params: Mapping[str, Any], layers: int) -> dict[str, Any]:
  """The parameters that the features of one layer need.

  A layer's output is normalised, so it is that of a shorter Conformer.

  Args:
    params: of an encoder, its layers stacked or not.
    layers: how many layers to keep.
  """
  blocks = params["conformer"]
  if "layers" in blocks:
    kept = {"layers": jax.tree.map(lambda x: x[:layers], blocks["layers"])}
  else:
    kept = {f"layer_{i}": blocks[f"layer_{i}"] for i in range(layers)}
  return {"stem": params["stem"], "conformer": kept}
