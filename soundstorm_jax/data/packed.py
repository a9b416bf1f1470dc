"""A dataset of tokens as one file, which is read without TensorFlow.

A safetensors file of

  acoustic     (T, Q) uint16, all utterances' frames one after another
  semantic     (S,) uint16, their semantic tokens, at their own rate
  frames       (N,) uint32, each utterance's number of frames
  semantics    (N,) uint32, and of semantic tokens
  utterances   (M,) uint8, JSON: {"id": [...], "speaker": [...], "text": [...]}

whose metadata are the kind "tokens", the dataset's (`TokenMetadata`) and, by
split, the number of its first utterance and of the one after its last. Ids,
lengths and JSON are checked when a file is read; nothing in it is run.

Axes: N utterances, S semantic tokens, T frames, Q levels.
"""

import dataclasses
import json
import os
import pathlib
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import safetensors
from jaxtyping import UInt16, UInt32

from soundstorm_jax.data.token_example import (
  TokenExample,
  TokenMetadata,
  check_example,
)
from soundstorm_jax.weights import write_arrays

SUFFIX = ".safetensors"
_KIND = "tokens"
# Of codes, and of semantic tokens: an id has 16 bits.
_MOST_IDS = 2**16
_DTYPES = {
  "acoustic": np.dtype(np.uint16),
  "semantic": np.dtype(np.uint16),
  "frames": np.dtype(np.uint32),
  "semantics": np.dtype(np.uint32),
  "utterances": np.dtype(np.uint8),
}


@dataclasses.dataclass(frozen=True)
class PackedSplit:
  """The utterances of a split, as a sequence of `TokenExample`.

  Attributes:
    acoustic: of all of them, frame after frame.
    semantic: likewise, at their own rate.
    frames: of each.
    semantics: tokens of each.
    utterances: "id", "speaker" and "text" of each.
  """

  acoustic: UInt16[np.ndarray, "T Q"]
  semantic: UInt16[np.ndarray, " S"]
  frames: UInt32[np.ndarray, " N"]
  semantics: UInt32[np.ndarray, " N"]
  utterances: Mapping[str, list[str]]

  def __post_init__(self):
    for name in ("frames", "semantics"):
      ends = np.cumsum(getattr(self, name), dtype=np.int64)
      object.__setattr__(self, f"_{name}_ends", ends)

  def __len__(self) -> int:
    """Utterances in the split."""
    return len(self.frames)

  def __getitem__(self, number: int) -> TokenExample:
    """One of them, counted from 0."""

    def part(strip: np.ndarray, lengths: np.ndarray, ends: Any) -> np.ndarray:
      end = int(ends[number])
      return strip[end - int(lengths[number]) : end].astype(np.int32)

    return TokenExample(
      **{name: values[number] for name, values in self.utterances.items()},
      semantic=part(self.semantic, self.semantics, self._semantics_ends),
      acoustic=part(self.acoustic, self.frames, self._frames_ends),
    )


def write_packed(
  path: str | os.PathLike[str],
  *,
  metadata: TokenMetadata,
  examples: Mapping[str, Iterable[TokenExample]],
) -> None:
  """Writes a file, whole or not at all.

  Args:
    path: where to; folders are made.
    metadata: of the tokenizers.
    examples: by split, its utterances.

  Raises:
    ValueError: more ids than 16 bits tell apart, no utterance, or
      `check_example` refuses one.
  """
  path = pathlib.Path(path)
  if path.suffix != SUFFIX:
    raise ValueError(f"packed tokens are named *{SUFFIX}, got {path}")
  for name in ("codes", "semantic_vocab"):
    if getattr(metadata, name) > _MOST_IDS:
      raise ValueError(
        f"{name} must be at most {_MOST_IDS} to be packed, got "
        f"{getattr(metadata, name)}"
      )
  acoustic, semantic = [], []
  utterances: dict[str, list[str]] = {"id": [], "speaker": [], "text": []}
  splits = {}
  for split, rows in examples.items():
    first = len(acoustic)
    for row in rows:
      check_example(row, metadata)
      acoustic.append(row.acoustic.astype(np.uint16))
      semantic.append(row.semantic.astype(np.uint16))
      for name, values in utterances.items():
        values.append(getattr(row, name))
    splits[split] = [first, len(acoustic)]
  if not acoustic:
    raise ValueError(f"no utterance for {path}")
  arrays = {
    "acoustic": np.concatenate(acoustic),
    "semantic": np.concatenate(semantic),
    "frames": np.array([len(ids) for ids in acoustic], np.uint32),
    "semantics": np.array([len(ids) for ids in semantic], np.uint32),
    "utterances": np.frombuffer(json.dumps(utterances).encode(), np.uint8),
  }
  header = {
    "kind": _KIND,
    "metadata": json.dumps(metadata.to_json(), sort_keys=True),
    "splits": json.dumps(splits),
  }
  write_arrays(path, arrays, header=header)


class PackedTokens:
  """A file as `write_packed` made it, in memory.

  Args:
    path: of the file.

  Attributes:
    metadata: of the tokenizers.

  Raises:
    FileNotFoundError: there is no such file.
    ValueError: it is of another kind, cut short, or its lengths, ids or names
      do not fit together; the message says what.
  """

  def __init__(self, path: str | os.PathLike[str]):
    self._path = pathlib.Path(path)
    if not self._path.is_file():
      raise FileNotFoundError(f"no packed tokens at {path}")
    try:
      with safetensors.safe_open(str(path), framework="numpy") as file:
        header = dict(file.metadata() or {})
        if header.get("kind") != _KIND:
          raise ValueError(
            f"{path} must hold {_KIND}, got {header.get('kind')!r}"
          )
        self._arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except safetensors.SafetensorError as error:
      raise ValueError(f"{path} is not a safetensors file: {error}") from error
    try:
      self.metadata = TokenMetadata.from_json(json.loads(header["metadata"]))
      self._splits = _read_splits(json.loads(header["splits"]))
      _check_arrays(self._arrays, self.metadata)
      self._utterances = _read_utterances(self._arrays)
      count = len(self._arrays["frames"])
      for split, (first, end) in self._splits.items():
        if not 0 <= first <= end <= count:
          raise ValueError(
            f"split {split!r} is [{first}, {end}) of {count} utterances"
          )
    except (ValueError, KeyError, TypeError) as error:
      raise ValueError(f"{path} is damaged: {error}") from error

  def split(self, name: str) -> PackedSplit:
    """The utterances of a split.

    Raises:
      ValueError: there is no such split.
    """
    if name not in self._splits:
      raise ValueError(
        f"{self._path} has no split {name!r}; it has "
        f"{', '.join(sorted(self._splits))}"
      )
    first, end = self._splits[name]
    part = {}
    for strip, lengths in (("acoustic", "frames"), ("semantic", "semantics")):
      sizes = self._arrays[lengths]
      before = int(sizes[:first].sum(dtype=np.int64))
      inside = int(sizes[first:end].sum(dtype=np.int64))
      part[strip] = self._arrays[strip][before : before + inside]
      part[lengths] = sizes[first:end]
    names = {key: rows[first:end] for key, rows in self._utterances.items()}
    return PackedSplit(**part, utterances=names)


def _read_splits(values: dict[str, list[int]]) -> dict[str, tuple[int, int]]:
  return {
    split: (int(first), int(end)) for split, (first, end) in values.items()
  }


def _check_arrays(
  arrays: Mapping[str, np.ndarray], metadata: TokenMetadata
) -> None:
  dtypes = {name: array.dtype for name, array in arrays.items()}
  if dtypes != _DTYPES:
    raise ValueError(f"it holds {dtypes}, not {_DTYPES}")
  total, levels = arrays["acoustic"].shape
  if levels != metadata.levels:
    raise ValueError(f"it has {levels} levels, its metadata {metadata.levels}")
  if len(arrays["frames"]) != len(arrays["semantics"]):
    raise ValueError(
      f"it has {len(arrays['frames'])} lengths in frames, "
      f"{len(arrays['semantics'])} in semantic tokens"
    )
  for strip, lengths in (("acoustic", "frames"), ("semantic", "semantics")):
    total = int(arrays[lengths].sum(dtype=np.int64))
    if arrays[lengths].ndim != 1 or len(arrays[strip]) != total:
      raise ValueError(
        f"{strip} is {len(arrays[strip])} long, its utterances {total}"
      )
  if not arrays["frames"].all():
    raise ValueError("an utterance has no frames")
  for name, limit in (
    ("acoustic", metadata.codes),
    ("semantic", metadata.semantic_vocab),
  ):
    largest = int(arrays[name].max(initial=0))
    if largest >= limit:
      raise ValueError(f"it has {name} id {largest}, not in [0, {limit})")


def _read_utterances(arrays: Mapping[str, np.ndarray]) -> dict[str, list[str]]:
  names = json.loads(arrays["utterances"].tobytes())
  count = len(arrays["frames"])
  for key in ("id", "speaker", "text"):
    rows = names[key]
    if len(rows) != count or not all(isinstance(row, str) for row in rows):
      raise ValueError(f"{count} utterances need as many of {key!r}")
  return {key: names[key] for key in ("id", "speaker", "text")}
