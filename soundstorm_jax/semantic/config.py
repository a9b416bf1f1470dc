"""Settings of the semantic tokens: encoder, its training, k-means."""

import dataclasses

from soundstorm_jax.config import at_least, within
from soundstorm_jax.layers.config import ConformerConfig


@dataclasses.dataclass(frozen=True)
class WhisperConfig:
  """Whisper's encoder; the defaults but for `layers` are those of tiny.

  Attributes:
    layers: Transformer blocks, 4 in tiny; 0 is no such encoder.
    dim: width.
    heads: of attention.
  """

  layers: int = 0
  dim: int = 384
  heads: int = 6

  def __post_init__(self):
    at_least("layers", self.layers, 0)
    at_least("heads", self.heads, 1)
    if self.dim < self.heads or self.dim % self.heads:
      raise ValueError(
        f"dim must be a multiple of heads, {self.heads}, got {self.dim}"
      )


@dataclasses.dataclass(frozen=True)
class SemanticEncoderConfig:
  """A Conformer over log-mel frames, four of them stacked to a token's frame.

  Attributes:
    sample_rate: of the audio, in Hz.
    tokens_per_second: the Conformer's frame rate.
    mels: channels of a log-mel frame.
    whisper: given layers, the Conformer reads its features, two of them
      stacked, and not the log-mel frames.
    conformer: as many layers as are used.
  """

  sample_rate: int = 16000
  tokens_per_second: int = 25
  mels: int = 80
  whisper: WhisperConfig = WhisperConfig()
  conformer: ConformerConfig = ConformerConfig(
    dim=256, layers=4, heads=4, ff_dim=512, conv_kernel=7, dropout=0.1
  )

  def __post_init__(self):
    for name in ("sample_rate", "tokens_per_second", "mels"):
      at_least(name, getattr(self, name), 1)


@dataclasses.dataclass(frozen=True)
class SemanticTrainingConfig:
  """Settings of a training run of the encoder, or of its tokens with it.

  Attributes:
    model: the encoder.
    start: for "semantic_tokens", semantic.safetensors to go on from.
    whisper: file of `semantic.import_whisper`, if the encoder reads its
      features; they stay as they are.
    phones: CSV file of `semantic.align`; needed by the losses on phones.
    codes: of the random-projection quantizer (BEST-RQ, arXiv 2202.01855,
      section 3.1; 8192 there).
    code_dim: width of a code (16 there).
    mask_probability: that a span starts at a frame (section 3.2).
    mask_frames: of a span; 400 ms there.
    ctc_weight: of CTC on the phones of the window; 0 is none.
    frame_weight: of cross-entropy on the phones of every frame; 0 is none.
    warp: frequencies are scaled by up to this factor, or down by as much.
    tempo: likewise the speed, which leaves the frequencies alone.
    noise_snr: white noise of at least so many dB below the speech.
    mel_masks: bands of channels that are hidden, as in SpecAugment.
    mel_mask_width: of the widest such band.
    decoder_layers: for "semantic_tokens", of the Conformer that reads them.
    mel_weight: likewise, of the squared error of the log-mel frames.
    commitment: likewise, of the features' distance to their centres.
  """

  model: SemanticEncoderConfig = SemanticEncoderConfig()
  start: str = ""
  whisper: str = ""
  phones: str = ""
  codes: int = 1024
  code_dim: int = 16
  mask_probability: float = 0.03
  mask_frames: int = 10
  ctc_weight: float = 0.0
  frame_weight: float = 0.0
  warp: float = 1.0
  tempo: float = 1.0
  noise_snr: float = 100.0
  mel_masks: int = 0
  mel_mask_width: int = 16
  decoder_layers: int = 1
  mel_weight: float = 2.0
  commitment: float = 0.25

  def __post_init__(self):
    at_least("codes", self.codes, 2)
    for name in (
      "code_dim",
      "mask_frames",
      "warp",
      "tempo",
      "mel_mask_width",
      "decoder_layers",
    ):
      at_least(name, getattr(self, name), 1)
    for name in (
      "ctc_weight",
      "frame_weight",
      "mel_masks",
      "mel_weight",
      "commitment",
    ):
      at_least(name, getattr(self, name), 0)
    within("mask_probability", self.mask_probability, 0.0, 1.0)
    if (self.ctc_weight or self.frame_weight) and not self.phones:
      raise ValueError("ctc_weight and frame_weight need phones, got no file")


@dataclasses.dataclass(frozen=True)
class KMeansConfig:
  """Semantic tokens by k-means over normalised features.

  Attributes:
    clusters: number of centres.
    sample_rate: of the audio, in Hz.
    tokens_per_second: an encoder's own, if there is one.
    encoder: weights of a semantic encoder; empty for MFCC and differences.
    layer: whose features are taken, from 1; 0 is the encoder's last.
    coefficients: of MFCC.
    iterations: at most so many.
    max_frames: feature vectors that are clustered.
  """

  clusters: int = 1024
  sample_rate: int = 16000
  tokens_per_second: int = 25
  encoder: str = ""
  layer: int = 0
  coefficients: int = 13
  iterations: int = 50
  max_frames: int = 400_000

  def __post_init__(self):
    at_least("clusters", self.clusters, 2)
    at_least("layer", self.layer, 0)
    for name in (
      "sample_rate",
      "tokens_per_second",
      "coefficients",
      "iterations",
      "max_frames",
    ):
      at_least(name, getattr(self, name), 1)
