"""What a dataset of tokens consists of, on whatever disk it lies.

Axes: S semantic tokens, T frames, Q levels.
"""

import dataclasses
from collections.abc import Mapping
from fractions import Fraction
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Int


@runtime_checkable
class Sizes(Protocol):
  """What of a model the tokens determine."""

  levels: int
  codes: int
  semantic_vocab: int


@dataclasses.dataclass(frozen=True)
class TokenMetadata:
  """How the tokens of a dataset were made.

  Attributes:
    sample_rate: of the codec's audio, in Hz.
    frame_rate: acoustic frames a second, exact.
    semantic_rate: semantic tokens a second, exact.
    levels: of the codec (Q).
    codes: of one level.
    semantic_vocab: number of semantic tokens.
    codec_fingerprint: identifies the codec's weights.
    semantic_fingerprint: identifies the semantic tokenizer's weights.
    config: the settings of the program that made the dataset.
  """

  sample_rate: int
  frame_rate: Fraction
  semantic_rate: Fraction
  levels: int
  codes: int
  semantic_vocab: int
  codec_fingerprint: str
  semantic_fingerprint: str
  config: Mapping[str, Any] = dataclasses.field(default_factory=dict)

  def to_json(self) -> dict[str, Any]:
    """Plain values; rates as text, so that they stay exact."""
    return {
      **vars(self),
      "config": dict(self.config),
      "frame_rate": str(self.frame_rate),
      "semantic_rate": str(self.semantic_rate),
    }

  @classmethod
  def from_json(cls, values: Mapping[str, Any]) -> "TokenMetadata":
    """The inverse of `to_json`.

    Raises:
      ValueError: a value is missing.
    """
    names = [field.name for field in dataclasses.fields(cls)]
    missing = [name for name in names if name not in values]
    if missing:
      raise ValueError(f"token metadata lacks {', '.join(missing)}")
    known = {name: values[name] for name in names}
    known["frame_rate"] = Fraction(values["frame_rate"])
    known["semantic_rate"] = Fraction(values["semantic_rate"])
    return cls(**known)

  def check_model(self, model: Sizes, *, path: str) -> None:
    """Refuses a model of other sizes.

    Ids beyond an embedding would be read as its last row, silently.

    Args:
      model: that is to take the tokens.
      path: of the tokens, for the message.

    Raises:
      ValueError: levels, codes or semantic_vocab differ.
    """
    for name in ("levels", "codes", "semantic_vocab"):
      has, takes = getattr(self, name), getattr(model, name)
      if has != takes:
        raise ValueError(f"{path} has {name} {has}, the model's is {takes}")


@dataclasses.dataclass(frozen=True)
class TokenExample:
  """One utterance.

  Attributes:
    id: unique in the dataset.
    speaker: who speaks.
    text: what is said; may be empty.
    semantic: int32, one id a semantic token.
    acoustic: int32, one id a frame and level.
  """

  id: str
  speaker: str
  text: str
  semantic: Int[np.ndarray, "S"]
  acoustic: Int[np.ndarray, "T Q"]


def check_example(example: TokenExample, metadata: TokenMetadata) -> None:
  """Refuses an utterance that a model could not take.

  Raises:
    ValueError: ids out of range, another number of levels, or no frame; the
      message names the record.
  """
  frames, levels = example.acoustic.shape
  if levels != metadata.levels:
    raise ValueError(
      f"record {example.id!r} has {levels} levels, not {metadata.levels}"
    )
  if not frames:
    raise ValueError(f"record {example.id!r} has no frames")
  for name, ids, limit in (
    ("acoustic", example.acoustic, metadata.codes),
    ("semantic", example.semantic, metadata.semantic_vocab),
  ):
    bad = ids[(ids < 0) | (ids >= limit)]
    if bad.size:
      raise ValueError(
        f"record {example.id!r} has {name} id {bad[0]}, not in [0, {limit})"
      )
