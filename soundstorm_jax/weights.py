"""Weights to ship: safetensors with the model's config in the header.

Reading one runs no code. A file says what it holds ("soundstorm",
"soundstream", "semantic") and how big the model is, so that nothing else is
needed to use it. Half precision on disk, or 8 bits with a scale for every 64
values; float32 in memory.
"""

import hashlib
import json
import math
import os
import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import safetensors
import safetensors.numpy
from jaxtyping import Float, Int8

DTYPES = ("float16", "float32", "int8")
_SEPARATOR = "/"
# Beside an array in int8: its blocks' scales.
_SCALES = ":scales"
_BLOCK = 64


class Weights(NamedTuple):
  """What a file holds.

  Attributes:
    params: nested dicts of float32 arrays, by name.
    config: the model's config as plain values, for `config.from_mapping`.
    kind: which model it is.
    metadata: what else was noted when it was written, such as the step.
  """

  params: dict[str, Any]
  config: dict[str, Any]
  kind: str
  metadata: dict[str, str]


def save_weights(
  path: str | os.PathLike[str],
  params: Mapping[str, Any],
  *,
  config: Mapping[str, Any],
  kind: str,
  dtype: str = "float16",
  metadata: Mapping[str, str] | None = None,
) -> None:
  """Writes a file, whole or not at all.

  Args:
    path: where to; folders are made.
    params: nested dicts of arrays.
    config: the model's config as plain values (`config.to_mapping`).
    kind: which model it is.
    dtype: "float16", "float32", or "int8", in which vectors, which are few and
      matter much, stay float16.
    metadata: notes for people, such as the step.

  Raises:
    ValueError: another dtype, a name with a slash or a colon, or a value that
      the dtype cannot hold.
  """
  if dtype not in DTYPES:
    raise ValueError(f"dtype must be one of {DTYPES}, got {dtype!r}")
  arrays: dict[str, np.ndarray] = {}
  for name, value in _flatten(params).items():
    if dtype == "int8" and np.ndim(value) > 1:
      codes, scales = _to_int8(np.asarray(value, np.float32))
      arrays[name] = codes
      arrays[name + _SCALES] = _cast(name, scales, "float16")
    else:
      arrays[name] = _cast(name, value, "float16" if dtype == "int8" else dtype)
  header = dict(metadata or {}) | {
    "kind": kind,
    "config": json.dumps(config, sort_keys=True),
  }
  write_arrays(pathlib.Path(path), arrays, header=header)


def write_arrays(
  path: pathlib.Path,
  arrays: Mapping[str, np.ndarray],
  *,
  header: Mapping[str, str],
) -> None:
  """Writes a safetensors file, whole or not at all; folders are made."""
  path.parent.mkdir(parents=True, exist_ok=True)
  partial = path.with_name(path.name + ".partial")
  # Not its save_file, whose files only their owner may read.
  partial.write_bytes(
    safetensors.numpy.save(dict(arrays), metadata=dict(header))
  )
  partial.replace(path)


def load_weights(
  path: str | os.PathLike[str], *, kind: str | None = None
) -> Weights:
  """Reads a file that `save_weights` wrote.

  Args:
    path: of the file.
    kind: which model it must be of; any if None.

  Raises:
    FileNotFoundError: there is no such file.
    ValueError: it is not such a file, or of another model.
  """
  path = pathlib.Path(path)
  if not path.is_file():
    raise FileNotFoundError(f"no weights at {path}")
  try:
    with safetensors.safe_open(str(path), framework="numpy") as file:
      header = dict(file.metadata() or {})
      flat = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
  except safetensors.SafetensorError as error:
    raise ValueError(f"{path} is not a safetensors file: {error}") from error
  if not {"kind", "config"} <= set(header):
    raise ValueError(f"{path} does not say what model it holds")
  found, config = header.pop("kind"), json.loads(header.pop("config"))
  if kind is not None and found != kind:
    raise ValueError(f"{path} must hold {kind}, got {found!r}")
  return Weights(_unflatten(flat), config, found, header)


def fingerprint(path: str | os.PathLike[str]) -> str:
  """Sixteen hexadecimal digits that tell one model from another.

  They follow from the kind, the config and the values, and not from the bytes
  of the file, whose header safetensors writes in any order.

  Raises:
    FileNotFoundError: there is no such file.
    ValueError: it is not a file that `save_weights` wrote.
  """
  weights = load_weights(path)
  digest = hashlib.sha256()
  digest.update(json.dumps([weights.kind, weights.config]).encode())
  for name, value in sorted(_flatten(weights.params).items()):
    digest.update(json.dumps([name, value.shape]).encode())
    digest.update(value.tobytes())
  return digest.hexdigest()[:16]


def _cast(name: str, value: Any, dtype: str) -> np.ndarray:
  value = np.asarray(value)
  with np.errstate(over="ignore"):
    cast = np.ascontiguousarray(value.astype(dtype))
  if not np.isfinite(cast).all():
    raise ValueError(
      f"{name} has values that are not finite in {dtype}: up to "
      f"{np.abs(value).max()}"
    )
  return cast


def _to_int8(
  value: Float[np.ndarray, "..."],
) -> tuple[Int8[np.ndarray, "..."], Float[np.ndarray, " N"]]:
  """The codes, and the scale of each block of the values in order."""
  starts = np.arange(0, value.size, _BLOCK)
  largest = np.maximum.reduceat(np.abs(value).ravel(), starts)
  # As it will be read. One step up, so that rounding it down clips nothing.
  with np.errstate(over="ignore"):
    scales = (largest / 127).astype(np.float16)
  scales = np.nextafter(scales, np.float16(np.inf))
  return np.rint(value / _spread(scales, value.shape)).astype(np.int8), scales


def _spread(scales: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
  """Every value's scale."""
  size = math.prod(shape)
  return np.repeat(scales.astype(np.float32), _BLOCK)[:size].reshape(shape)


def _flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
  flat = {}
  for name, value in tree.items():
    for sign in (_SEPARATOR, _SCALES[0]):
      if sign in name:
        raise ValueError(f"a name must not hold {sign!r}, got {name!r}")
    if isinstance(value, Mapping):
      flat |= _flatten(value, f"{prefix}{name}{_SEPARATOR}")
    else:
      flat[prefix + name] = value
  return flat


def _unflatten(flat: Mapping[str, np.ndarray]) -> dict[str, Any]:
  tree: dict[str, Any] = {}
  for path, value in flat.items():
    if path.endswith(_SCALES):
      continue
    if path + _SCALES in flat:
      value = value * _spread(flat[path + _SCALES], value.shape)
    *folders, name = path.split(_SEPARATOR)
    node = tree
    for folder in folders:
      node = node.setdefault(folder, {})
    node[name] = value.astype(np.float32)
  return tree
