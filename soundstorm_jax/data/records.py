"""Random access to the records of a token dataset, by number.

TFRecord files have no index. One is made by reading the records' headers and
jumping over their contents, so opening a dataset costs a seek a record and
memory for two integers, however large the records are.

Axes: S semantic tokens, T frames, Q levels.
"""

import dataclasses
import os
import struct
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds

from soundstorm_jax.data import token_dataset
from soundstorm_jax.data.token_example import TokenExample, TokenMetadata

# A record is a length (8 bytes), its checksum (4), the contents, theirs (4).
_HEADER, _FOOTER = 12, 4


class _Place(NamedTuple):
  file: int
  offset: int
  length: int


def read_metadata(path: str | os.PathLike[str]) -> TokenMetadata:
  """How a dataset was made, without looking at its records.

  Raises:
    ValueError: there is no such dataset.
  """
  folder = token_dataset.dataset_folder(path)
  return _metadata(tfds.builder_from_directory(str(folder)))


def read_splits(path: str | os.PathLike[str]) -> list[str]:
  """The names of a dataset's splits.

  Raises:
    ValueError: there is no such dataset.
  """
  folder = token_dataset.dataset_folder(path)
  return sorted(tfds.builder_from_directory(str(folder)).info.splits)


def check_same_tokenizers(datasets: Mapping[str, TokenMetadata]) -> None:
  """Refuses datasets, by path, that cannot be joined.

  Raises:
    ValueError: they were made by different tokenizers.
  """
  first, *others = datasets
  expected = datasets[first]
  for path in others:
    same = dataclasses.replace(datasets[path], config=expected.config)
    if same != expected:
      raise ValueError(f"{path} was made by other tokenizers than {first}")


def _metadata(builder: tfds.core.DatasetBuilder) -> TokenMetadata:
  # TFDS reads the file only when asked for all items.
  return TokenMetadata.from_json(dict((builder.info.metadata or {}).items()))


class NoSplitError(ValueError):
  """A token dataset lacks the split that is asked for."""


class TokenRecords:
  """One split of a token dataset as a sequence of `TokenExample`.

  Args:
    path: the dataset, or the folder it was written to.
    split: its name.

  Raises:
    ValueError: no such dataset or split, or a file is cut short.
  """

  def __init__(self, path: str | os.PathLike[str], *, split: str):
    builder = tfds.builder_from_directory(
      str(token_dataset.dataset_folder(path))
    )
    splits = builder.info.splits
    if split not in splits:
      raise NoSplitError(
        f"{path} has no split {split!r}; it has {', '.join(sorted(splits))}"
      )
    self.metadata = _metadata(builder)
    self._files = [str(file) for file in splits[split].filepaths]
    self._places = [
      place
      for number, file in enumerate(self._files)
      for place in _scan(file, number)
    ]
    expected = splits[split].num_examples
    if len(self._places) != expected:
      raise ValueError(
        f"split {split!r} of {path} has {len(self._places)} records, its "
        f"index says {expected}"
      )

  def __len__(self) -> int:
    """Records in the split."""
    return len(self._places)

  def __getitem__(self, number: int) -> TokenExample:
    """Reads one record.

    Raises:
      ValueError: its acoustic ids do not make whole frames.
    """
    place = self._places[number]
    with tf.io.gfile.GFile(self._files[place.file], "rb") as file:
      file.seek(place.offset)
      data = file.read(place.length)
    fields = tf.train.Example.FromString(data).features.feature
    acoustic = np.array(fields["acoustic"].int64_list.value, np.int32)
    if acoustic.size % self.metadata.levels:
      raise ValueError(
        f"record {_text(fields['id'])!r} has {acoustic.size} acoustic ids, "
        f"not a multiple of {self.metadata.levels} levels"
      )
    return TokenExample(
      id=_text(fields["id"]),
      speaker=_text(fields["speaker"]),
      text=_text(fields["text"]),
      semantic=np.array(fields["semantic"].int64_list.value, np.int32),
      acoustic=acoustic.reshape(-1, self.metadata.levels),
    )


class JoinedRecords:
  """A split of several token datasets, one after the other.

  Args:
    paths: of the datasets, with commas between them; made by the same
      tokenizers.
    split: its name; a dataset that lacks it adds nothing, if another has it.

  Raises:
    ValueError: no such dataset, no dataset with that split, or datasets made
      by different tokenizers.
  """

  def __init__(self, paths: str | os.PathLike[str], *, split: str):
    lacks = ValueError("no token dataset is named")
    found: list[tuple[str, TokenRecords]] = []
    for path in filter(None, os.fspath(paths).split(",")):
      try:
        found.append((path, TokenRecords(path, split=split)))
      except NoSplitError as error:
        lacks = error
    if not found:
      raise lacks
    check_same_tokenizers({path: part.metadata for path, part in found})
    self.metadata = found[0][1].metadata
    self._parts = [part for _, part in found]
    self._starts = np.cumsum([0, *map(len, self._parts)])

  def __len__(self) -> int:
    """Records in all of them."""
    return int(self._starts[-1])

  def __getitem__(self, number: int) -> TokenExample:
    """Reads one record; see `TokenRecords`."""
    part = int(np.searchsorted(self._starts, number, side="right")) - 1
    return self._parts[part][number - int(self._starts[part])]


def _text(feature: tf.train.Feature) -> str:
  return b"".join(feature.bytes_list.value).decode()


def _scan(path: str, number: int) -> list[_Place]:
  places = []
  with tf.io.gfile.GFile(path, "rb") as file:
    size = file.size()
    offset = 0
    while offset < size:
      file.seek(offset)
      header = file.read(_HEADER)
      if len(header) < _HEADER:
        raise ValueError(f"{path} is cut short at byte {offset} of {size}")
      (length,) = struct.unpack("<Q", header[:8])
      places.append(_Place(number, offset + _HEADER, length))
      offset += _HEADER + length + _FOOTER
    if offset != size:
      raise ValueError(f"{path} is cut short: {size} bytes of {offset}")
  return places
