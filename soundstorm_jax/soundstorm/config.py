"""Settings of SoundStorm; numbers with a section are from arXiv 2305.09636."""

import dataclasses

from soundstorm_jax.config import at_least, within
from soundstorm_jax.layers.config import ConformerConfig


@dataclasses.dataclass(frozen=True)
class SoundStormConfig:
  """The masked token predictor (section 2.1): levels, codes, conditioning."""

  levels: int = 12
  codes: int = 1024
  semantic_vocab: int = 1024
  conformer: ConformerConfig = ConformerConfig()

  def __post_init__(self):
    for name in ("levels", "codes", "semantic_vocab"):
      at_least(name, getattr(self, name), 1)

  @property
  def mask_id(self) -> int:
    """The id, one past the codes, that stands for a masked token."""
    return self.codes

  @property
  def null_semantic_id(self) -> int:
    """The id that stands for dropped conditioning."""
    return self.semantic_vocab


@dataclasses.dataclass(frozen=True)
class MaskingConfig:
  """The training mask (section 2.2).

  Attributes:
    no_prompt_prob: the chance that the delimiter is put at frame 0 instead of
      being drawn; the paper has no such choice (0).
    semantic_dropout: the chance that an example's conditioning is dropped, for
      classifier-free guidance; the paper has none (0).
    coarse_bias: level q of Q is drawn in proportion to (Q + 1 - q) to this
      power. 0 is uniform, as in the paper; MaskGCT (arXiv 2409.00750) favours
      coarse levels too, which short runs would else hardly get to know.
    full_mask_prob: the chance that a level is masked whole instead of by the
      cosine, as a level's first pass in decoding sees it; the paper has no such
      choice (0).
  """

  no_prompt_prob: float = 0.0
  semantic_dropout: float = 0.0
  coarse_bias: float = 0.0
  full_mask_prob: float = 0.0

  def __post_init__(self):
    within("no_prompt_prob", self.no_prompt_prob, 0.0, 1.0)
    within("semantic_dropout", self.semantic_dropout, 0.0, 1.0)
    within("coarse_bias", self.coarse_bias, 0.0, 10.0)
    within("full_mask_prob", self.full_mask_prob, 0.0, 1.0)


@dataclasses.dataclass(frozen=True)
class SamplerConfig:
  """Parallel decoding (section 2.3).

  Attributes:
    iterations: forward passes per level, coarse to fine.
    temperature: divides the logits before sampling.
    choice_temperature: scale of the Gumbel noise on the confidences, annealed
      to zero within a level; 4.5 in the official MaskGIT.
    guidance_scale: classifier-free guidance, away from what the network
      expects when it knows neither semantic tokens nor prompt; 0, as in the
      paper, is none (one pass an iteration).
  """

  iterations: tuple[int, ...] = (16, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1)
  temperature: float = 1.0
  choice_temperature: float = 4.5
  guidance_scale: float = 0.0

  def __post_init__(self):
    if not self.iterations:
      raise ValueError("iterations must name at least one level, got ()")
    for count in self.iterations:
      at_least("iterations", count, 1)
    if not self.temperature > 0:
      raise ValueError(f"temperature must be above 0, got {self.temperature}")
    at_least("choice_temperature", self.choice_temperature, 0)
    at_least("guidance_scale", self.guidance_scale, 0)

  @property
  def passes(self) -> int:
    """Iterations over all levels: 27 at the paper's setting."""
    return sum(self.iterations)


def default_sampler(levels: int) -> SamplerConfig:
  """The paper's iterations: 16 at the first level, one at each other."""
  return SamplerConfig(iterations=(16,) + (1,) * (levels - 1))


@dataclasses.dataclass(frozen=True)
class SoundStormTrainingConfig:
  """SoundStorm's settings of a training run.

  Attributes:
    model: the network.
    masking: of the training examples.
    sampler: of the samples that are written.
    start: weights to go on from, of the same sizes; random ones if empty.
    codec_weights: the codec that turns evaluation samples into audio; no
      samples are written without it.
    codebook_start_batches: how many batches to count codes in, to start from
      them and the codec's codebooks (`codebook_start.py`); 0, as in the paper,
      starts at random.
  """

  model: SoundStormConfig = SoundStormConfig()
  masking: MaskingConfig = MaskingConfig()
  sampler: SamplerConfig = SamplerConfig()
  start: str = ""
  codec_weights: str = ""
  codebook_start_batches: int = 0

  def __post_init__(self):
    at_least("codebook_start_batches", self.codebook_start_batches, 0)
