"""Frozen settings of every part; a ConfigDict becomes one of these once.

The library sees only these dataclasses. A program reads a config file into an
`ml_collections.ConfigDict` and turns it into a dataclass at its edge with
`from_mapping`, which refuses unknown keys, so that a misspelt setting is an
error and not silence.

Numbers with a section or table are from SoundStorm (arXiv 2305.09636).
"""

import dataclasses

# Whoever reads a config finds all that belongs to it here.
from soundstorm_jax.config_audiolm import (
  AudioLMConfig,
  AudioLMSamplerConfig,
  AudioLMStages,
  TransformerConfig,
)
from soundstorm_jax.config_base import (
  ConformerConfig,
  at_least,
  from_mapping,
  to_mapping,
  within,
)
from soundstorm_jax.config_semantic import (
  KMeansConfig,
  SemanticEncoderConfig,
  SemanticTrainingConfig,
  WhisperConfig,
)
from soundstorm_jax.config_soundstream import (
  CodecTrainingConfig,
  SoundStreamConfig,
)

__all__ = [
  "AudioLMConfig",
  "AudioLMSamplerConfig",
  "AudioLMStages",
  "CodecTrainingConfig",
  "ConformerConfig",
  "DataConfig",
  "KMeansConfig",
  "MaskingConfig",
  "MeshConfig",
  "OptimizerConfig",
  "SamplerConfig",
  "SemanticEncoderConfig",
  "SemanticTrainingConfig",
  "SoundStormConfig",
  "SoundStreamConfig",
  "TrainConfig",
  "TransformerConfig",
  "WhisperConfig",
  "from_mapping",
  "to_mapping",
]


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


@dataclasses.dataclass(frozen=True)
class OptimizerConfig:
  """AdamW with linear warm-up, then a cosine to `final_lr_ratio * lr`.

  With `muon`, for the codec alone, the kernels of its convolutions are stepped
  by Muon, and the rest by AdamW at half the rate.
  """

  lr: float = 3e-4
  warmup_steps: int = 1000
  final_lr_ratio: float = 0.1
  b1: float = 0.9
  b2: float = 0.95
  weight_decay: float = 0.01
  clip_norm: float = 1.0
  ema_decay: float = 0.999
  accumulate: int = 1
  muon: bool = False

  def __post_init__(self):
    if not self.lr > 0:
      raise ValueError(f"lr must be above 0, got {self.lr}")
    at_least("warmup_steps", self.warmup_steps, 0)
    within("final_lr_ratio", self.final_lr_ratio, 0.0, 1.0)
    within("b1", self.b1, 0.0, 1.0)
    within("b2", self.b2, 0.0, 1.0)
    within("ema_decay", self.ema_decay, 0.0, 1.0)
    at_least("weight_decay", self.weight_decay, 0)
    at_least("accumulate", self.accumulate, 1)
    if not self.clip_norm > 0:
      raise ValueError(f"clip_norm must be above 0, got {self.clip_norm}")


@dataclasses.dataclass(frozen=True)
class DataConfig:
  """Where training reads from, and how examples are cut.

  Attributes:
    path: a folder, or several with commas between: token datasets, or a file of
      `soundstorm_jax.pack` (SoundStorm, AudioLM); audio (codec, k-means).
    split: the training split of a token dataset.
    eval_split: its held-out split.
    held_out_speakers: for audio folders, speakers kept for evaluation.
    window_seconds: the longest training window; 30 s in the paper.
    min_window_seconds: the shortest; the paper draws windows of 0-30 s. An
      utterance that is shorter is taken whole.
    eval_batches: at most this many evaluation batches.
    workers: parallel reads.
    cache: keep decoded audio in memory.
    on_device: keep all training data on the device and cut windows there,
      without TensorFlow: the codec's audio and, always, packed tokens.
  """

  path: str = ""
  split: str = "train"
  eval_split: str = "test"
  held_out_speakers: tuple[str, ...] = ()
  window_seconds: float = 30.0
  min_window_seconds: float = 0.0
  eval_batches: int = 8
  workers: int = 2
  cache: bool = False
  on_device: bool = False

  def __post_init__(self):
    if self.path.endswith(".safetensors"):
      object.__setattr__(self, "on_device", True)
    if not self.window_seconds > 0:
      raise ValueError(
        f"window_seconds must be above 0, got {self.window_seconds}"
      )
    within(
      "min_window_seconds", self.min_window_seconds, 0.0, self.window_seconds
    )
    at_least("eval_batches", self.eval_batches, 1)
    at_least("workers", self.workers, 1)


@dataclasses.dataclass(frozen=True)
class MeshConfig:
  """Devices along each mesh axis; -1 takes what is left."""

  data: int = -1
  fsdp: int = 1
  tensor: int = 1

  def __post_init__(self):
    sizes = (self.data, self.fsdp, self.tensor)
    if sizes.count(-1) > 1 or any(s < 1 and s != -1 for s in sizes):
      raise ValueError(
        "mesh sizes must be positive, with at most one -1, got "
        f"data={self.data}, fsdp={self.fsdp}, tensor={self.tensor}"
      )


@dataclasses.dataclass(frozen=True)
class TrainConfig:
  """One training run: `task` picks which of the models is trained.

  Attributes:
    task: "soundstorm", "audiolm", "soundstream", "semantic_encoder",
      "kmeans" or "semantic_tokens".
    start: weights to go on from, of the same kind and sizes (for
      "semantic_tokens", semantic.safetensors); random ones if empty.
    codec_weights: for SoundStorm and AudioLM, the codec that turns evaluation
      samples into audio; no samples are written without it.
    steps_per_call: on data on the device; fewer where something is due.
    codebook_start_batches: for SoundStorm, how many batches to count codes in,
      to start from them and the codec's codebooks (`soundstorm_start.py`); 0,
      as in the paper, starts at random.
  """

  task: str = "soundstorm"
  seed: int = 0
  steps: int = 100_000
  batch_size: int = 32
  log_every: int = 50
  eval_every: int = 1000
  save_every: int = 1000
  steps_per_call: int = 20
  sample_every: int = 0
  keep_checkpoints: int = 3
  max_skipped_in_a_row: int = 10
  start: str = ""
  codec_weights: str = ""
  codebook_start_batches: int = 0
  mesh: MeshConfig = MeshConfig()
  data: DataConfig = DataConfig()
  optimizer: OptimizerConfig = OptimizerConfig()
  soundstorm: SoundStormConfig = SoundStormConfig()
  masking: MaskingConfig = MaskingConfig()
  sampler: SamplerConfig = SamplerConfig()
  audiolm: AudioLMConfig = AudioLMConfig()
  soundstream: SoundStreamConfig = SoundStreamConfig()
  codec_training: CodecTrainingConfig = CodecTrainingConfig()
  kmeans: KMeansConfig = KMeansConfig()
  semantic_encoder: SemanticEncoderConfig = SemanticEncoderConfig()
  semantic_training: SemanticTrainingConfig = SemanticTrainingConfig()

  def __post_init__(self):
    tasks = (
      "soundstorm",
      "audiolm",
      "soundstream",
      "semantic_encoder",
      "semantic_tokens",
      "kmeans",
    )
    if self.task not in tasks:
      raise ValueError(f"task must be one of {tasks}, got {self.task!r}")
    for name in (
      "steps",
      "batch_size",
      "log_every",
      "eval_every",
      "save_every",
      "steps_per_call",
      "keep_checkpoints",
      "max_skipped_in_a_row",
    ):
      at_least(name, getattr(self, name), 1)
    if self.start and self.task not in (
      "soundstorm",
      "audiolm",
      "soundstream",
      "semantic_tokens",
    ):
      raise ValueError(f"task {self.task!r} takes no start, got {self.start!r}")
    if self.optimizer.muon and self.task != "soundstream":
      raise ValueError(
        f"optimizer.muon is for task 'soundstream', got {self.task!r}"
      )
    at_least("sample_every", self.sample_every, 0)
    at_least("codebook_start_batches", self.codebook_start_batches, 0)
    if self.batch_size % self.optimizer.accumulate:
      raise ValueError(
        f"batch_size must be a multiple of optimizer.accumulate, got "
        f"{self.batch_size} and {self.optimizer.accumulate}"
      )
