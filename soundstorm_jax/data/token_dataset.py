"""A dataset of tokens on disk: our TFDS builder.

`soundstorm_jax.tokenize` writes it, anything that speaks TFDS reads it:

  import soundstorm_jax.data.token_dataset
  tfds.load("soundstorm_tokens", data_dir=FOLDER)

The features' shapes depend on the codec, so they are not in this code but
beside the data, where TFDS finds them. Rates, vocabulary sizes and the
fingerprints of the tokenizers are the dataset's metadata (`token_example.py`).
"""

import os
import pathlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from etils import epath

from soundstorm_jax.data.token_example import TokenExample, TokenMetadata

NAME = "soundstorm_tokens"


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
