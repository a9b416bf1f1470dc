"""A dataset of tokens on disk: our TFDS builder, and what it stores.

`soundstorm_jax.tokenize` writes it, anything that speaks TFDS reads it:

  import soundstorm_jax.data.token_dataset
  tfds.load("soundstorm_tokens", data_dir=FOLDER)

The features' shapes depend on the codec, so they are not in this code but
beside the data, where TFDS finds them. Rates, vocabulary sizes and the
fingerprints of the tokenizers are the dataset's metadata.

Axes: S semantic tokens, T frames, Q levels.
"""

import dataclasses
import os
import pathlib
from collections.abc import Callable, Iterable, Mapping
from fractions import Fraction
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from etils import epath
from jaxtyping import Int

from soundstorm_jax.config import SoundStormConfig

NAME = "soundstorm_tokens"


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

  def check_model(self, config: SoundStormConfig) -> None:
    """Refuses a model of other sizes.

    Raises:
      ValueError: levels, codes or semantic_vocab differ.
    """
    for name in ("levels", "codes", "semantic_vocab"):
      if getattr(config, name) != getattr(self, name):
        raise ValueError(
          f"the model has {name}={getattr(config, name)}, the tokens have "
          f"{name}={getattr(self, name)}"
        )


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


class SoundstormTokens(tfds.core.GeneratorBasedBuilder):
  """TFDS builder; reads what `write_dataset` made."""

  VERSION = tfds.core.Version("1.0.0")

  def __init__(
    self,
    *,
    token_metadata: TokenMetadata | None = None,
    examples: Mapping[str, Callable[[], Iterable[TokenExample]]] | None = None,
    **kwargs: Any,
  ):
    # Before the base class's initialiser, which asks for `_info`.
    self._token_metadata = token_metadata
    self._examples = examples or {}
    super().__init__(**kwargs)

  def _info(self) -> tfds.core.DatasetInfo:
    if self._token_metadata is None:
      return tfds.core.DatasetInfo(builder=self)
    return tfds.core.DatasetInfo(
      builder=self,
      description="Semantic and acoustic tokens of speech.",
      features=tfds.features.FeaturesDict(
        {
          "id": tfds.features.Text(),
          "speaker": tfds.features.Text(),
          "text": tfds.features.Text(),
          "semantic": tfds.features.Tensor(shape=(None,), dtype=np.int32),
          "acoustic": tfds.features.Tensor(
            shape=(None, self._token_metadata.levels), dtype=np.int32
          ),
        }
      ),
      metadata=tfds.core.MetadataDict(self._token_metadata.to_json()),
    )

  def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
    del dl_manager
    if self._token_metadata is None:
      raise ValueError(
        f"no token dataset in {self.data_dir}; make one with "
        "python -m soundstorm_jax.tokenize"
      )
    return {
      split: self._generate_examples(examples)
      for split, examples in self._examples.items()
    }

  def _generate_examples(
    self, examples: Callable[[], Iterable[TokenExample]]
  ) -> Any:
    for example in examples():
      yield example.id, dict(vars(example))


def write_dataset(
  folder: str | pathlib.Path,
  *,
  metadata: TokenMetadata,
  examples: Mapping[str, Callable[[], Iterable[TokenExample]]],
) -> pathlib.Path:
  """Writes a dataset; TFDS shuffles, shards and counts.

  Args:
    folder: its parent; the dataset is in soundstorm_tokens/1.0.0 below it.
    metadata: of the tokenizers.
    examples: by split, a function that goes through its examples. No split
      may be empty.

  Returns:
    The dataset's own folder. It appears whole, at the end.
  """
  builder = SoundstormTokens(
    token_metadata=metadata, examples=examples, data_dir=str(folder)
  )
  tfds.disable_progress_bar()
  builder.download_and_prepare()
  return pathlib.Path(builder.data_dir)


def dataset_folder(path: str | os.PathLike[str]) -> epath.Path:
  """The folder with a dataset's files: `path` itself or its only version.

  It may be in a bucket (gs://...).

  Raises:
    ValueError: there is no token dataset.
  """
  versioned = epath.Path(path) / NAME / str(SoundstormTokens.VERSION)
  for folder in (epath.Path(path), versioned):
    if (folder / "dataset_info.json").exists():
      return folder
  raise ValueError(
    f"no token dataset in {path}; make one with "
    "python -m soundstorm_jax.tokenize"
  )
