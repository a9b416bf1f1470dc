"""Reads Google's SoundStream, Lyra V2, from its TFLite files.

They are in the folder lyra/model_coeffs of https://github.com/google/lyra
(Apache-2.0): 16 kHz, 50 frames a second, 46 levels of 16 codes. Their graphs
take a frame at a time and keep the past in variables. To a whole recording our
network does the same, so that the weights are all that is needed: those of the
convolutions, in order. The widest blocks are in int8; here they become float32.

Axes: K steps, I and E channels, Q levels, V codes, D width.
"""

import dataclasses
import pathlib
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import flax
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from soundstorm_jax.soundstream.config import LIGHT_CODEC
from soundstorm_jax.soundstream.network import DILATIONS, SoundStream
from soundstorm_jax.soundstream.tflite_file import read_operators

CONFIG = dataclasses.replace(LIGHT_CODEC, levels=46, codes=16)
ENCODER = "soundstream_encoder.tflite"
DECODER = "lyragan.tflite"
QUANTIZER = "quantizer.tflite"

# What our layers are there.
_KINDS = {
  "Downsample": "CONV_2D",
  "GroupedConv": "CONV_2D",
  "DepthwiseConv": "DEPTHWISE_CONV_2D",
  "Upsample": "TRANSPOSE_CONV",
}
# Which inputs of an operator are weights.
_INPUTS = {
  "CONV_2D": (1, 2),
  "DEPTHWISE_CONV_2D": (1, 2),
  "TRANSPOSE_CONV": (1, 3),
  "SUB": (1,),
}
# How the quantizer compares a vector with a level's codes.
_DISTANCE = {"SQUARED_DIFFERENCE": (1,)}


class _Convolution(NamedTuple):
  """One of their convolutions.

  Attributes:
    name: for messages.
    kind: of `_KINDS`.
    kernel: (K, I, E), as ours, if the network is Lyra's.
    bias: (E,), likewise.
  """

  name: str
  kind: str
  kernel: np.ndarray
  bias: np.ndarray


class LyraCodec(NamedTuple):
  """The codec as Google trained it.

  Attributes:
    params: of `SoundStream(CONFIG)`.
    codebooks: of its quantizer.
  """

  params: dict[str, Any]
  codebooks: Float[np.ndarray, "Q V D"]


def read_codec(folder: str | pathlib.Path) -> LyraCodec:
  """The codec of the three files in `folder`.

  Raises:
    ImportError: the package `tflite` is not installed.
    ValueError: a file is missing, damaged, or of another network.
  """
  folder = pathlib.Path(folder)
  params = jax.eval_shape(
    SoundStream(CONFIG).init, jax.random.key(0), jnp.zeros((1, CONFIG.hop))
  )["params"]
  wanted = nn.meta.unbox(params)
  return LyraCodec(
    {
      "encoder": _read_layers(
        folder / ENCODER, encoder_layers(), wanted=wanted["encoder"]
      ),
      "decoder": _read_layers(
        folder / DECODER, decoder_layers(), wanted=wanted["decoder"]
      ),
    },
    _read_codebooks(folder / QUANTIZER),
  )


def encoder_layers() -> list[str]:
  """Our names of the encoder's layers, in the order of its graph."""
  layers = ["Downsample_0"]
  for block in range(len(CONFIG.strides)):
    layers += [*_unit_layers(block), f"Downsample_{block + 1}"]
  return [*layers, "GroupedConv_0"]


def decoder_layers() -> list[str]:
  """Likewise of the decoder's."""
  layers = ["GroupedConv_0"]
  for block in range(len(CONFIG.strides)):
    layers += [f"Upsample_{block}", *_unit_layers(block)]
  return [*layers, f"Upsample_{len(CONFIG.strides)}"]


def _unit_layers(block: int) -> list[str]:
  units = range(len(DILATIONS) * block, len(DILATIONS) * (block + 1))
  parts = ("DepthwiseConv_0", "GroupedConv_0", "GroupedConv_1")
  return [f"SeparableUnit_{unit}/{part}" for unit in units for part in parts]


def _read_layers(
  path: pathlib.Path, layers: Iterable[str], *, wanted: Mapping[str, Any]
) -> dict[str, Any]:
  """The parameters of the encoder or decoder, of the shapes of `wanted`."""
  convolutions = _read_convolutions(path)
  shapes = flax.traverse_util.flatten_dict(wanted, sep="/")
  params = {}
  used = 0
  for layer in layers:
    shape = shapes[f"{layer}/kernel"].shape
    kind = _KINDS[layer.rpartition("/")[2].partition("_")[0]]
    parts: list[_Convolution] = []
    missing = shape[-1]
    # Each group of a transposed convolution is one by itself there.
    least = 1 if kind == "TRANSPOSE_CONV" else missing
    while missing > 0:
      if used == len(convolutions):
        raise ValueError(f"{path} ends before {layer}, a {kind} of {shape}")
      part = convolutions[used]
      if (
        part.kind != kind
        or part.kernel.shape[:-1] != shape[:-1]
        or part.bias.shape != part.kernel.shape[-1:]
        or not least <= part.bias.size <= missing
      ):
        raise ValueError(
          f"{path}: {part.name} of {part.kernel.shape} and {part.bias.shape} "
          f"is not {layer}, a {kind} of {shape}"
        )
      parts.append(part)
      missing -= part.bias.size
      used += 1
    params[f"{layer}/kernel"] = np.concatenate(
      [part.kernel for part in parts], axis=-1
    )
    params[f"{layer}/bias"] = np.concatenate([part.bias for part in parts])
  if used < len(convolutions):
    raise ValueError(
      f"{path} must have {used} convolutions, got {len(convolutions)}"
    )
  return flax.traverse_util.unflatten_dict(params, sep="/")


def _read_convolutions(path: pathlib.Path) -> list[_Convolution]:
  """All of a file, in the order of their computation."""
  found: list[_Convolution] = []
  for operator in read_operators(path, "main", inputs=_INPUTS):
    if operator.kind == "SUB":
      # What a transposed convolution adds to the next frame has its bias
      # already, which is taken off: unrounded, where its own is an integer.
      if not found or found[-1].kind != "TRANSPOSE_CONV":
        raise ValueError(f"{path}: {operator.name} is not Lyra's")
      found[-1] = found[-1]._replace(bias=operator.weights[0])
      continue
    kernel, bias = operator.weights
    if kernel.ndim == 4:
      # (1, K, 1, E) and (E, K, 1, I) there.
      depthwise = operator.kind == "DEPTHWISE_CONV_2D"
      kernel = kernel[0] if depthwise else kernel[:, :, 0].transpose(1, 2, 0)
    found.append(_Convolution(operator.name, operator.kind, kernel, bias))
  return found


def _read_codebooks(path: pathlib.Path) -> Float[np.ndarray, "Q V D"]:
  # A level is given what those before it left, which gives them their order.
  levels = read_operators(path, "encode", inputs=_DISTANCE)
  if len(levels) != CONFIG.levels:
    raise ValueError(
      f"{path} must have {CONFIG.levels} levels, got {len(levels)}"
    )
  shape = (1, CONFIG.codes, CONFIG.dim)
  for operator in levels:
    if operator.weights[0].shape != shape:
      raise ValueError(
        f"{path}: {operator.name} must have codes of shape {shape}, got "
        f"{operator.weights[0].shape}"
      )
  return np.concatenate([operator.weights[0] for operator in levels])
