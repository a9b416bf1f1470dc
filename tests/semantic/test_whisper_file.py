"""A model as CTranslate2 stores it, to the encoder's parameters."""

import struct

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from soundstorm_jax.config import to_mapping
from soundstorm_jax.semantic import import_whisper
from soundstorm_jax.semantic.config import WhisperConfig
from soundstorm_jax.semantic.whisper import WhisperEncoder
from soundstorm_jax.semantic.whisper_file import read_encoder
from soundstorm_jax.weights import load_weights

KINDS = {"f4": 0, "i1": 1, "i2": 2, "i4": 3, "f2": 4}


def text(value):
  data = value.encode() + b"\0"
  return struct.pack("<H", len(data)) + data


def write_model(folder, arrays, *, specification="WhisperSpec"):
  """model.bin of these arrays."""
  parts = [struct.pack("<I", 6), text(specification)]
  parts.append(struct.pack("<II", 3, len(arrays)))
  for name, array in arrays.items():
    array = np.asarray(array)
    data = array.tobytes()
    parts.append(text(name) + struct.pack("<B", array.ndim))
    parts.append(struct.pack(f"<{array.ndim}I", *array.shape))
    parts.append(struct.pack("<BI", KINDS[array.dtype.str[1:]], len(data)))
    parts.append(data)
  (folder / "model.bin").write_bytes(b"".join(parts))
  return folder


def tiny_arrays(dim=6, heads=2, mels=5, layers=2):
  """Random arrays by CTranslate2's names, and one of the decoder."""
  rng = np.random.default_rng(0)

  def draw(*shape):
    return rng.normal(size=shape).astype(np.float16)

  arrays = {
    "encoder/num_heads": np.int16(heads),
    "encoder/conv1/weight": draw(dim, mels, 3),
    "encoder/conv1/bias": draw(dim),
    "encoder/conv2/weight": draw(dim, dim, 3),
    "encoder/conv2/bias": draw(dim),
    "encoder/layer_norm/gamma": draw(dim),
    "encoder/layer_norm/beta": draw(dim),
    "decoder/embeddings/weight": draw(3, dim),
  }
  widths = {
    "self_attention/linear_0": (3 * dim, dim),
    "self_attention/linear_1": (dim, dim),
    "ffn/linear_0": (4 * dim, dim),
    "ffn/linear_1": (dim, 4 * dim),
  }
  for layer in range(layers):
    place = f"encoder/layer_{layer}/"
    for name, shape in widths.items():
      arrays[f"{place}{name}/weight"] = draw(*shape)
      arrays[f"{place}{name}/bias"] = draw(shape[0])
    for name in ("self_attention", "ffn"):
      arrays[f"{place}{name}/layer_norm/gamma"] = draw(dim)
      arrays[f"{place}{name}/layer_norm/beta"] = draw(dim)
  return arrays


def test_the_parameters_are_the_encoders(tmp_path):
  arrays = tiny_arrays()
  write_model(tmp_path, arrays)
  output = tmp_path / "whisper.safetensors"
  import_whisper.main([f"--model={tmp_path}", f"--output={output}"])
  weights = load_weights(output)
  config = WhisperConfig(layers=2, dim=6, heads=2)
  assert weights.kind == "whisper"
  assert weights.config == to_mapping(config)
  wanted = jax.eval_shape(
    WhisperEncoder(config).init,
    jax.random.key(0),
    jnp.zeros((1, 2, 5)),
    jnp.ones((1, 2), bool),
  )["params"]
  shapes = jax.tree.map(lambda x: x.shape, wanted)
  assert jax.tree.map(lambda x: x.shape, weights.params) == shapes
  np.testing.assert_array_equal(
    weights.params["conv1"]["kernel"][2, 4, 1],
    arrays["encoder/conv1/weight"][1, 4, 2],
  )
  np.testing.assert_array_equal(
    weights.params["layer_1"]["expand"]["kernel"],
    arrays["encoder/layer_1/ffn/linear_0/weight"].T,
  )
  np.testing.assert_array_equal(
    weights.params["layer_0"]["attention_norm"]["scale"],
    arrays["encoder/layer_0/self_attention/layer_norm/gamma"],
  )


def test_what_is_no_such_model_is_refused(tmp_path, capsys):
  with pytest.raises(ValueError, match=r"no model\.bin in"):
    read_encoder(tmp_path)
  arrays = tiny_arrays()
  write_model(tmp_path, arrays, specification="TransformerSpec")
  with pytest.raises(ValueError, match="'TransformerSpec', WhisperSpec is"):
    read_encoder(tmp_path)
  small = arrays | {"encoder/layer_0/ffn/linear_0/weight": np.ones(3, np.int8)}
  write_model(tmp_path, small)
  with pytest.raises(ValueError, match="linear_0/weight is int8, not float"):
    read_encoder(tmp_path)
  missing = {k: v for k, v in arrays.items() if k != "encoder/conv2/bias"}
  write_model(tmp_path, missing)
  with pytest.raises(ValueError, match="has no encoder/conv2/bias"):
    read_encoder(tmp_path)
  path = write_model(tmp_path, arrays) / "model.bin"
  path.write_bytes(path.read_bytes()[:2000])
  with pytest.raises(ValueError, match="ends early"):
    read_encoder(tmp_path)
  with pytest.raises(SystemExit):
    import_whisper.main([f"--model={tmp_path}", "--output=x"])
  assert "ends early" in capsys.readouterr().err
