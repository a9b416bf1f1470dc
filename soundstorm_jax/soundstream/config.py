"""Settings of the codec and its training (SoundStream, arXiv 2107.03312)."""

import dataclasses
import math

from soundstorm_jax.config import at_least, check_dtype, within

ACTIVATIONS = ("elu", "leaky_relu")


@dataclasses.dataclass(frozen=True)
class SoundStreamConfig:
  """The codec (SoundStream section III); 16 kHz, 50 frames/s by default.

  Attributes:
    sample_rate: in Hz.
    strides: of the encoder's blocks; the decoder's are their mirror image.
    encoder_channels: of its first block; each doubles them.
    decoder_channels: of its last block.
    dim: width of the latents.
    levels: of the quantizer.
    codes: of a level.
    patch: samples that are one step of the first block. 1 is the paper's, a
      convolution of 7 at the sample rate; else one of four patches.
    separable: residual units are depthwise-separable convolutions of 3; the
      paper's are full ones of 7.
    group_width: channels of a group, of those convolutions that have groups in
      a light codec; 0, as in the paper, is no groups.
    activation: "elu", the paper's, or "leaky_relu" of slope 0.3.
    dtype: to compute in.
  """

  sample_rate: int = 16000
  strides: tuple[int, ...] = (2, 4, 5, 8)
  encoder_channels: int = 16
  decoder_channels: int = 16
  dim: int = 64
  levels: int = 12
  codes: int = 1024
  patch: int = 1
  separable: bool = False
  group_width: int = 0
  activation: str = "elu"
  dtype: str = "float32"

  def __post_init__(self):
    for name in (
      "sample_rate",
      "encoder_channels",
      "decoder_channels",
      "dim",
      "levels",
      "patch",
    ):
      at_least(name, getattr(self, name), 1)
    at_least("codes", self.codes, 2)
    at_least("group_width", self.group_width, 0)
    if self.group_width:
      self._check_groups()
    if self.activation not in ACTIVATIONS:
      raise ValueError(
        f"activation must be one of {', '.join(ACTIVATIONS)}, got "
        f"{self.activation!r}"
      )
    if not self.strides:
      raise ValueError("strides must not be empty")
    for stride in self.strides:
      at_least("strides", stride, 1)
    if self.sample_rate % self.hop:
      raise ValueError(
        f"sample_rate must be a multiple of the hop, got {self.sample_rate} "
        f"and {self.hop}"
      )
    check_dtype(self.dtype)

  def _check_groups(self) -> None:
    """Groups are whole, in all layers that have them."""
    widest = 2 ** (len(self.strides) - 1)
    for name in ("encoder_channels", "decoder_channels"):
      channels = getattr(self, name)
      if channels % self.group_width:
        raise ValueError(
          f"{name} must be a multiple of group_width, {self.group_width}, got "
          f"{channels}"
        )
      groups = channels * widest // self.group_width
      if self.dim % groups:
        raise ValueError(
          f"dim must be a multiple of the {groups} groups of {name} in the "
          f"widest block, got {self.dim}"
        )

  @property
  def hop(self) -> int:
    """Samples per frame."""
    return self.patch * math.prod(self.strides)

  @property
  def frame_rate(self) -> int:
    """Frames per second."""
    return self.sample_rate // self.hop


# The network of Google's Lyra V2, and of the shipped weights.
LIGHT_CODEC = SoundStreamConfig(
  strides=(5, 2, 2),
  encoder_channels=64,
  decoder_channels=64,
  dim=64,
  patch=16,
  separable=True,
  group_width=64,
  activation="leaky_relu",
)


@dataclasses.dataclass(frozen=True)
class SoundStreamTrainingConfig:
  """The codec's settings of a training run (sections III-C to III-E)."""

  model: SoundStreamConfig = SoundStreamConfig()
  # Weights to go on from, of the same sizes; random ones if empty.
  start: str = ""
  # Convolutions' kernels are stepped by Muon, the rest by AdamW at half the
  # rate.
  muon: bool = False
  adversarial_weight: float = 1.0
  feature_weight: float = 100.0
  mel_weight: float = 1.0
  # L1 between samples. The paper has none (0); it gives a short training run
  # the phase that the discriminators would take far longer to teach.
  waveform_weight: float = 0.0
  # The discriminators join after this many steps: the paper starts at once,
  # which costs most of the time while the output is still noise.
  adversarial_start: int = 0
  # And so does the mel loss. Of speech whose phases are not learnt yet its
  # gradient is large and points anywhere, and keeps them from being learnt.
  mel_start: int = 0
  light_discriminators: bool = False
  discriminator_channels: int = 32
  discriminator_lr: float = 1e-4
  # Their rate follows the run's, as a share of its peak. The paper names none;
  # discriminators whose rate stays win once the decoder's has fallen.
  discriminator_decay: bool = False
  codebook_decay: float = 0.99
  # A code whose moving count falls below this is replaced (section III-C).
  dead_code_threshold: float = 2.0
  commitment_weight: float = 0.25
  quantizer_dropout: bool = True
  # Until this step latents pass unquantized, and k-means waits. The paper
  # starts at once (0); small batches track a young encoder too slowly.
  quantizer_start: int = 0
  # Batches to draw before the first step, for k-means to start from. The
  # paper's takes the first step's (0).
  start_batches: int = 0
  # Another codec's weights, whose latents and speech are learnt from; the paper
  # has none. Its codebooks are taken, and stay if `codebook_decay` is 1.
  teacher: str = ""
  # Of the encoder's distance to the teacher's latents.
  latent_weight: float = 1.0
  # The share of the examples whose decoder hears the teacher's latents instead
  # of the encoder's, and of those whose target is the teacher's speech instead
  # of the recording.
  teacher_latents: float = 1.0
  teacher_speech: float = 1.0
  # L1 between compressed complex spectra (`losses.spectrum_loss`).
  spectrum_weight: float = 0.0

  def __post_init__(self):
    for name in ("codebook_decay", "teacher_latents", "teacher_speech"):
      within(name, getattr(self, name), 0.0, 1.0)
    for name in (
      "latent_weight",
      "spectrum_weight",
      "adversarial_weight",
      "feature_weight",
      "mel_weight",
      "waveform_weight",
      "adversarial_start",
      "mel_start",
      "commitment_weight",
      "quantizer_start",
      "start_batches",
      "dead_code_threshold",
    ):
      at_least(name, getattr(self, name), 0)
    at_least("discriminator_channels", self.discriminator_channels, 1)
