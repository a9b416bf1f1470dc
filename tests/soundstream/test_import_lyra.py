"""Lyra V2's TFLite files to a codec.

Most tests write files of the same form with weights of their own. Where Lyra's
are in ../shared/lyra beside the repository, with lyra_jax.py, the network in
plain JAX, ours is compared with it.
"""

import contextlib
import importlib.util
import pathlib

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from soundstorm_jax.config import from_mapping
from soundstorm_jax.data.audio_files import read_audio
from soundstorm_jax.soundstream import import_lyra, lyra, quantizer
from soundstorm_jax.soundstream.config import SoundStreamConfig
from soundstorm_jax.soundstream.network import SoundStream
from soundstorm_jax.weights import load_weights
from tests import make_audio
from tests.soundstream.write_tflite import Scaled, write_tflite

_ROOT = pathlib.Path(__file__).parents[2]
_LYRA = _ROOT.parent / "shared" / "lyra"
# Layers that are stored as integers here.
_SCALED = ("Downsample_3", "Upsample_0", "SeparableUnit_8/DepthwiseConv_0")


def _scale(channels):
  """One of two for each channel; their multiples are exact in float32."""
  return (2.0 ** -(11 + np.arange(channels) % 2)).astype(np.float32)


def _node(params, layer):
  for name in layer.split("/"):
    params = params[name]
  return params


def _operators(params, layers):
  """A side's operators, as Lyra's graphs have them."""
  operators = []
  for layer in layers:
    kernel, bias = _node(params, layer)["kernel"], _node(params, layer)["bias"]
    scale = _scale(bias.size)
    axis = 0
    if "Depthwise" in layer:
      kind, weights, axis = "DEPTHWISE_CONV_2D", kernel[None], 3
    else:
      kind = "TRANSPOSE_CONV" if "Upsample" in layer else "CONV_2D"
      weights = kernel.transpose(2, 0, 1)[:, :, None]
    rounded = bias
    if layer in _SCALED:
      shape = [1] * 4
      shape[axis] = -1
      codes = np.rint(weights / scale.reshape(shape)).astype(np.int8)
      weights = Scaled(codes, scale, axis)
      rounded = Scaled(np.rint(bias / scale).astype(np.int32), scale)
    if kind != "TRANSPOSE_CONV":
      operators.append((kind, [None, weights, rounded]))
      continue
    groups = 4 if layer == "Upsample_0" else 1
    for part in np.split(np.arange(bias.size), groups):
      own = weights
      taken = rounded
      if isinstance(weights, Scaled):
        own = Scaled(weights.values[part], scale[part])
        # Its bias counts as it is taken off again.
        taken = Scaled(0 * rounded.values[part], scale[part])
      operators.append((kind, [None, own, None, taken]))
      operators.append(("ADD", [None, None]))
      operators.append(("SUB", [None, bias[part]]))
  return operators


def _books(codes, levels):
  return [("SQUARED_DIFFERENCE", [None, book[None]]) for book in codes[:levels]]


@pytest.fixture(scope="module")
def random_codec():
  """Parameters and codebooks of Lyra's shapes."""
  rng = np.random.default_rng(0)

  def draw(leaf):
    codes = rng.integers(-127, 128, leaf.shape)
    return (codes * _scale(leaf.shape[-1])).astype(np.float32)

  wanted = jax.eval_shape(
    SoundStream(lyra.CONFIG).init, jax.random.key(0), jnp.zeros((1, 320))
  )["params"]
  books = rng.normal(size=(46, 16, 64)).astype(np.float32)
  return jax.tree.map(draw, nn.meta.unbox(wanted)), books


@pytest.fixture(scope="module")
def model(tmp_path_factory, random_codec):
  """Their files."""
  params, books = random_codec
  folder = tmp_path_factory.mktemp("lyra")
  encoder = _operators(params["encoder"], lyra.encoder_layers())
  decoder = _operators(params["decoder"], lyra.decoder_layers())
  write_tflite(folder / lyra.ENCODER, encoder)
  write_tflite(folder / lyra.DECODER, decoder)
  write_tflite(folder / lyra.QUANTIZER, _books(books, 46), subgraph="encode")
  return folder


def _linked(model, folder, **changed):
  """A folder with these files and the model's other ones."""
  for name in (lyra.ENCODER, lyra.DECODER, lyra.QUANTIZER):
    (folder / name).write_bytes(
      changed.get(name.partition(".")[0], (model / name).read_bytes())
    )
  return folder


def test_every_weight_finds_its_place(model, random_codec, tmp_path):
  params, books = random_codec
  output = tmp_path / "lyra.safetensors"
  import_lyra.main([f"--model={model}", f"--output={output}"])
  weights = load_weights(output, kind="soundstream")
  assert from_mapping(SoundStreamConfig, weights.config) == lyra.CONFIG
  jax.tree.map(np.testing.assert_array_equal, weights.params["params"], params)
  np.testing.assert_array_equal(weights.params["codebooks"], books)


def test_refit_fits_other_codebooks(model, tmp_path, capsys):
  audio = make_audio.write_folder(
    tmp_path / "audio", {"1": [0.5, 0.9], "2": [0.6], "3": [0.3]}
  )
  output = tmp_path / "lyra.safetensors"
  arguments = [f"--model={model}", f"--output={output}", f"--refit={audio}"]
  import_lyra.main(
    [*arguments, "--levels=2", "--codes=8", "--held_out_speakers=3"]
  )
  weights = load_weights(output, kind="soundstream")
  config = from_mapping(SoundStreamConfig, weights.config)
  assert (config.levels, config.codes) == (2, 8)
  assert weights.params["codebooks"].shape == (2, 8, 64)
  # 25 + 45 + 30 of 20 ms; the held-out speaker's are not among them.
  printed = capsys.readouterr().out
  assert printed.startswith("100 frames; the codes lose ")
  assert 0 < float(printed.split()[-6]) < 100
  with pytest.raises(SystemExit):
    import_lyra.main([*arguments, "--held_out_speakers=9"])
  assert "held_out_speakers not in" in capsys.readouterr().err
  with pytest.raises(SystemExit):
    import_lyra.main([*arguments, "--codes=1"])
  assert "codes must be at least 2, got 1" in capsys.readouterr().err
  with pytest.raises(SystemExit):
    import_lyra.main([*arguments, "--codes=128"])
  assert "at most the 115 frames" in capsys.readouterr().err


def test_a_missing_file_is_named(model, tmp_path, capsys):
  for name in (lyra.DECODER, lyra.QUANTIZER, lyra.ENCODER):
    _linked(model, tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(ValueError, match=f"no {name} in"):
      lyra.read_codec(tmp_path)
  with pytest.raises(SystemExit):
    import_lyra.main([f"--model={tmp_path}", "--output=x"])
  assert f"no {lyra.ENCODER} in" in capsys.readouterr().err


def test_another_network_is_refused(model, random_codec, tmp_path):
  params, books = random_codec
  operators = _operators(params["encoder"], lyra.encoder_layers())

  def refused(message, *, name=lyra.ENCODER, operators, subgraph="main"):
    folder = _linked(model, tmp_path)
    write_tflite(folder / name, operators, subgraph=subgraph)
    with pytest.raises(ValueError, match=message) as error:
      lyra.read_codec(folder)
    assert str(folder / name) in str(error.value)

  refused("has no subgraph 'main'", operators=operators, subgraph="other")
  refused(r"ends before GroupedConv_0, a CONV_2D of", operators=operators[:-1])
  refused(
    "must have 32 convolutions, got 33",
    operators=operators + operators[-1:],
  )
  swapped = [operators[0], operators[2], operators[1], *operators[3:]]
  refused(
    "operator 1, CONV_2D, of .* is not SeparableUnit_0/", operators=swapped
  )
  narrow = (
    "CONV_2D",
    [None, np.ones((32, 64, 1, 1), np.float32), np.ones(32, np.float32)],
  )
  refused(
    r"operator 0, CONV_2D, of \(64, 1, 32\)", operators=[narrow, *operators[1:]]
  )
  flat = (
    "CONV_2D",
    [None, np.ones((3, 3), np.float32), np.ones(3, np.float32)],
  )
  refused(r"operator 0, CONV_2D, of \(3, 3\)", operators=[flat])
  bare = ("CONV_2D", [None, np.ones((64, 64, 1, 1), np.float32)])
  refused(
    "operator 0, CONV_2D, has no weights as its input 2", operators=[bare]
  )
  wild = (
    "CONV_2D",
    [
      None,
      np.full((64, 64, 1, 1), np.nan, np.float32),
      np.ones(64, np.float32),
    ],
  )
  refused(
    "operator 0, CONV_2D, has weights that are not finite", operators=[wild]
  )
  refused(
    "operator 0, SUB, is not Lyra's",
    operators=[("SUB", [None, np.ones(3, np.float32)])],
  )
  refused(
    "must have 46 levels, got 45",
    name=lyra.QUANTIZER,
    operators=_books(books, 45),
    subgraph="encode",
  )
  refused(
    r"must have codes of shape \(1, 16, 64\), got \(1, 8, 64\)",
    name=lyra.QUANTIZER,
    operators=_books(books[:, :8], 46),
    subgraph="encode",
  )


def test_a_damaged_file_is_refused(model, tmp_path):
  whole = (model / lyra.QUANTIZER).read_bytes()

  def read(data):
    folder = _linked(model, tmp_path, quantizer=bytes(data))
    return lyra._read_codebooks(folder / lyra.QUANTIZER)

  for data in (b"", b"PK\3\4" + whole[4:8][::-1] + whole[8:]):
    with pytest.raises(ValueError, match="is not a TFLite file"):
      read(data)
  for size in (8, 20, len(whole) // 2, len(whole) - 1000):
    with pytest.raises(ValueError, match=lyra.QUANTIZER):
      read(whole[:size])
  # Where the offsets are, any value may stand.
  rng = np.random.default_rng(0)
  for _ in range(100):
    data = bytearray(whole)
    for place in rng.integers(0, 3000, 3):
      data[place] = rng.integers(256)
    # It may be among what is not read.
    with contextlib.suppress(ValueError):
      read(data)


@pytest.mark.skipif(
  not _LYRA.is_dir(), reason="Lyra's files are not in ../shared/lyra"
)
def test_the_network_is_lyras():
  spec = importlib.util.spec_from_file_location(
    "lyra_jax", _LYRA / "lyra_jax.py"
  )
  theirs = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(theirs)
  arrays = theirs.dequantised(theirs.load(_LYRA / "lyra.npz"))
  arrays = {name: jnp.asarray(value) for name, value in arrays.items()}
  codec = lyra.read_codec(_LYRA / "model_coeffs")
  speech = _ROOT / "soundstorm_jax/demo/speech/af_heart/af_heart_01.ogg"
  audio = jnp.asarray(read_audio(speech, 16000, length=32000))[None]

  wanted = theirs.encode_float(arrays, audio)
  latents, speech = SoundStream(lyra.CONFIG).apply(
    {"params": jax.tree.map(jnp.asarray, codec.params)},
    audio,
    wanted,
    method=lambda module, audio, latents: (
      module.encode(audio),
      module.decode(latents),
    ),
  )
  np.testing.assert_allclose(latents, wanted, atol=1e-4)
  np.testing.assert_allclose(
    speech, theirs.decode_float(arrays, wanted), atol=1e-4
  )
  np.testing.assert_array_equal(
    quantizer.quantize(latents, jnp.asarray(codec.codebooks)).codes,
    theirs.rvq_encode(arrays["rvq/codebooks"], wanted),
  )
