"""Settings of AudioLM's acoustic stages (arXiv 2209.03143, section III)."""

import dataclasses

from soundstorm_jax.config import at_least
from soundstorm_jax.layers.config import TransformerConfig


@dataclasses.dataclass(frozen=True)
class AudioLMConfig:
  """One acoustic stage: what it reads, what it writes.

  Attributes:
    stage: "coarse": levels 1 to `coarse_levels` given semantic tokens; or
      "fine": the other levels given those, without semantic tokens.
    levels: of the codec.
    codes: of a level.
    semantic_vocab: number of semantic tokens.
    coarse_levels: written by the coarse stage, read by the fine one.
    window_frames: the most it takes at once: 10 s for the coarse stage, 3 s
      for the fine one, at 50 frames/s.
    semantic_stride: frames of a semantic token; it is read once in so many
      frames.
    positions: what relative positions measure. "sequence", as in the paper:
      places in the sequence, to which the conditioning is a prefix. "time":
      time, in acoustic tokens, so that a token has the conditioning of its own
      frame beside it, and short training runs make use of it.
    transformer: the network.
  """

  stage: str = "coarse"
  levels: int = 12
  codes: int = 1024
  semantic_vocab: int = 1024
  coarse_levels: int = 4
  window_frames: int = 500
  semantic_stride: int = 2
  positions: str = "sequence"
  transformer: TransformerConfig = TransformerConfig()

  def __post_init__(self):
    if self.stage not in ("coarse", "fine"):
      raise ValueError(f"stage must be coarse or fine, got {self.stage!r}")
    if self.positions not in ("sequence", "time"):
      raise ValueError(
        f"positions must be sequence or time, got {self.positions!r}"
      )
    for name in (
      "codes",
      "semantic_vocab",
      "coarse_levels",
      "window_frames",
      "semantic_stride",
    ):
      at_least(name, getattr(self, name), 1)
    if self.levels <= self.coarse_levels:
      raise ValueError(
        f"levels must be more than coarse_levels, {self.coarse_levels}, got "
        f"{self.levels}"
      )

  @property
  def first_level(self) -> int:
    """The coarsest level it writes, from 0."""
    return 0 if self.stage == "coarse" else self.coarse_levels

  @property
  def target_levels(self) -> int:
    """How many levels it writes."""
    if self.stage == "coarse":
      return self.coarse_levels
    return self.levels - self.coarse_levels

  @property
  def prefix_vocab(self) -> int:
    """Ids of the conditioning."""
    if self.stage == "coarse":
      return self.semantic_vocab
    return self.coarse_levels * self.codes

  def prefix_length(self, frames: int) -> int:
    """Tokens of the conditioning for so many frames."""
    if self.stage == "coarse":
      return -(-frames // self.semantic_stride)
    return frames * self.coarse_levels


@dataclasses.dataclass(frozen=True)
class AudioLMStages:
  """Both acoustic stages, which must be of the same tokens."""

  coarse: AudioLMConfig
  fine: AudioLMConfig

  def __post_init__(self):
    given = (self.coarse.stage, self.fine.stage)
    if given != ("coarse", "fine"):
      raise ValueError(f"the stages must be coarse and fine, got {given}")
    for name in ("levels", "codes", "coarse_levels"):
      ours, theirs = getattr(self.coarse, name), getattr(self.fine, name)
      if ours != theirs:
        raise ValueError(
          f"both stages must have the same {name}, got {ours} and {theirs}"
        )

  @property
  def levels(self) -> int:
    """Of the codec."""
    return self.coarse.levels

  @property
  def codes(self) -> int:
    """Of a level."""
    return self.coarse.codes

  @property
  def semantic_vocab(self) -> int:
    """Number of semantic tokens."""
    return self.coarse.semantic_vocab


@dataclasses.dataclass(frozen=True)
class AudioLMSamplerConfig:
  """Autoregressive decoding of both stages.

  Attributes:
    coarse_temperature: divides the logits before sampling (section IV-C).
    fine_temperature: likewise.
    overlap_frames: what is longer than the coarse stage's window is decoded
      window after window, and the last so many frames of one, 3 s, are the
      prompt of the next (SoundStorm, arXiv 2305.09636, section 4).
    parallel_chunks: the fine stage's chunks, which do not depend on each
      other, run as one batch. False is as published, one chunk after another;
      the tokens are the same.
    cache_segments: a window's steps are cut into so many loops, each with a
      cache no longer than its last step needs.
  """

  coarse_temperature: float = 0.8
  fine_temperature: float = 0.6
  overlap_frames: int = 150
  parallel_chunks: bool = True
  cache_segments: int = 4

  def __post_init__(self):
    for name in ("coarse_temperature", "fine_temperature"):
      if not getattr(self, name) > 0:
        raise ValueError(f"{name} must be above 0, got {getattr(self, name)}")
    at_least("overlap_frames", self.overlap_frames, 0)
    at_least("cache_segments", self.cache_segments, 1)


@dataclasses.dataclass(frozen=True)
class AudioLMTrainingConfig:
  """A stage's settings of a training run.

  Attributes:
    model: the stage.
    start: weights to go on from, of the same sizes; random ones if empty.
    codec_weights: the codec that turns evaluation samples into audio; no
      samples are written without it.
  """

  model: AudioLMConfig = AudioLMConfig()
  start: str = ""
  codec_weights: str = ""
