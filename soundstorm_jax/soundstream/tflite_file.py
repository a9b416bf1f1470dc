"""Reads the weights of a TFLite file (a flatbuffer), and runs none of it.

Of each operator of a kind that is asked for: its constant inputs, in float32,
in the order in which the graph computes them.
"""

import pathlib
import struct
from collections.abc import Mapping
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

# Their numbers of types that weights have.
_DTYPES = {0: "<f4", 2: "<i4", 9: "<i1"}
# What the parser raises where an offset or a size points nowhere.
_DAMAGE = (
  AttributeError,
  IndexError,
  OverflowError,
  TypeError,
  ValueError,
  struct.error,
)


class Operator(NamedTuple):
  """An operator with weights.

  Attributes:
    name: its number and kind, for messages.
    kind: TFLite's name of it, such as "CONV_2D".
    weights: its constant inputs that were asked for, in float32.
  """

  name: str
  kind: str
  weights: tuple[np.ndarray, ...]


def read_operators(
  path: pathlib.Path, subgraph: str, *, inputs: Mapping[str, tuple[int, ...]]
) -> list[Operator]:
  """Operators of the kinds of `inputs`, in the order of their computation.

  Args:
    path: the file.
    subgraph: its name there.
    inputs: by kind, which of an operator's inputs are weights.

  Raises:
    ImportError: the package `tflite` is not installed.
    ValueError: there is no such file or subgraph, the file is damaged, or an
      operator lacks a weight.
  """
  tflite = _tflite()
  if not path.is_file():
    raise ValueError(f"no {path.name} in {path.parent}")
  data = path.read_bytes()
  if data[4:8] != b"TFL3":
    raise ValueError(f"{path} is not a TFLite file")
  try:
    found = _find_operators(tflite, data, subgraph, inputs)
  except _DAMAGE as error:
    raise ValueError(f"{path} is damaged: {error}") from error
  if found is None:
    raise ValueError(f"{path} has no subgraph {subgraph!r}")
  operators = []
  for name, kind, weights in found:
    for place, weight in zip(inputs[kind], weights, strict=True):
      if weight is None:
        raise ValueError(f"{path}: {name} has no weights as its input {place}")
      if not np.isfinite(weight).all():
        raise ValueError(f"{path}: {name} has weights that are not finite")
    operators.append(Operator(name, kind, tuple(weights)))
  return operators


def _find_operators(
  tflite: ModuleType,
  data: bytes,
  subgraph: str,
  inputs: Mapping[str, tuple[int, ...]],
) -> list[tuple[str, str, list[np.ndarray | None]]] | None:
  """Name, kind and constants of each operator; None without the subgraph."""
  model = tflite.Model.GetRootAs(data)
  for number in range(model.SubgraphsLength()):
    graph = model.Subgraphs(number)
    if graph.Name() == subgraph.encode():
      break
  else:
    return None
  found = []
  for number in range(graph.OperatorsLength()):
    operator = graph.Operators(number)
    code = model.OperatorCodes(operator.OpcodeIndex())
    # The first 127 kinds are where old readers look for them.
    builtin = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
    kind = tflite.BUILTIN_OPCODE2NAME.get(builtin)
    if kind not in inputs:
      continue
    tensors = [operator.Inputs(i) for i in range(operator.InputsLength())]
    weights = [
      _constant(model, graph, tensors[place]) if place < len(tensors) else None
      for place in inputs[kind]
    ]
    found.append((f"operator {number}, {kind},", kind, weights))
  return found


def _constant(model: Any, graph: Any, index: int) -> np.ndarray | None:
  """A tensor's values in float32; None if it has none, or unscaled integers."""
  # An input that is left out has the index -1.
  if index < 0:
    return None
  tensor = graph.Tensors(index)
  buffer = model.Buffers(tensor.Buffer())
  if buffer.DataIsNone() or tensor.Type() not in _DTYPES:
    return None
  values = buffer.DataAsNumpy().view(_DTYPES[tensor.Type()])
  values = values.reshape(
    [tensor.Shape(i) for i in range(tensor.ShapeLength())]
  )
  if values.dtype.kind == "f":
    return values.astype(np.float32)
  quantization = tensor.Quantization()
  if quantization is None or quantization.ScaleIsNone():
    return None
  # One scale for all, or one for each index of one axis.
  shape = [1] * values.ndim
  shape[quantization.QuantizedDimension()] = -1
  scale = quantization.ScaleAsNumpy().astype(np.float64).reshape(shape)
  zero = quantization.ZeroPointAsNumpy().reshape(shape)
  return ((values - zero) * scale).astype(np.float32)


def _tflite() -> ModuleType:
  try:
    import tflite
  except ImportError as error:
    raise ImportError(
      "TFLite files need the package of the extra 'lyra': "
      "pip install 'soundstorm-jax[lyra]'"
    ) from error
  return tflite
