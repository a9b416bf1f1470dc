"""Small TFLite files: operators and their weights, without a way to run."""

import pathlib
from collections.abc import Sequence
from typing import NamedTuple

import flatbuffers
import numpy as np
import tflite

_TYPES = {"float32": 0, "int32": 2, "int8": 9}


class Scaled(NamedTuple):
  """Integers, and the scale of each index of an axis."""

  values: np.ndarray
  scale: np.ndarray
  axis: int = 0


# A kind, and its inputs: weights, or None for what is computed.
Operator = tuple[str, Sequence[np.ndarray | Scaled | None]]


def write_tflite(
  path: pathlib.Path, operators: Sequence[Operator], *, subgraph: str = "main"
) -> None:
  """Writes one subgraph."""
  builder = flatbuffers.Builder()

  def table(kind, **fields):
    getattr(tflite, f"{kind}Start")(builder)
    for name, value in fields.items():
      getattr(tflite, f"{kind}Add{name}")(builder, value)
    return getattr(tflite, f"{kind}End")(builder)

  def vector(offsets):
    builder.StartVector(4, len(offsets), 4)
    for offset in reversed(offsets):
      builder.PrependUOffsetTRelative(offset)
    return builder.EndVector()

  kinds = sorted({kind for kind, _ in operators})
  # The first buffer is empty: that of tensors which are computed.
  buffers, tensors, made = [table("Buffer")], [], []
  for kind, inputs in operators:
    numbers = np.arange(len(inputs), dtype=np.int32) + len(tensors)
    for value in inputs:
      if value is None:
        tensors.append(table("Tensor", Buffer=0))
        continue
      scaled = isinstance(value, Scaled)
      array = np.asarray(value.values if scaled else value)
      data = builder.CreateNumpyVector(np.frombuffer(array.tobytes(), np.uint8))
      fields = {
        "Shape": builder.CreateNumpyVector(np.array(array.shape, np.int32)),
        "Type": _TYPES[array.dtype.name],
        "Buffer": len(buffers),
      }
      if scaled:
        zeros = np.zeros(value.scale.size, np.int64)
        fields["Quantization"] = table(
          "QuantizationParameters",
          Scale=builder.CreateNumpyVector(value.scale),
          ZeroPoint=builder.CreateNumpyVector(zeros),
          QuantizedDimension=value.axis,
        )
      buffers.append(table("Buffer", Data=data))
      tensors.append(table("Tensor", **fields))
    made.append(
      table(
        "Operator",
        OpcodeIndex=kinds.index(kind),
        Inputs=builder.CreateNumpyVector(numbers),
      )
    )
  graph = table(
    "SubGraph",
    Name=builder.CreateString(subgraph),
    Tensors=vector(tensors),
    Operators=vector(made),
  )
  codes = [
    table(
      "OperatorCode",
      DeprecatedBuiltinCode=getattr(tflite.BuiltinOperator, kind),
      BuiltinCode=getattr(tflite.BuiltinOperator, kind),
    )
    for kind in kinds
  ]
  model = table(
    "Model",
    Version=3,
    OperatorCodes=vector(codes),
    Subgraphs=vector([graph]),
    Buffers=vector(buffers),
  )
  builder.Finish(model, file_identifier=b"TFL3")
  path.write_bytes(builder.Output())
