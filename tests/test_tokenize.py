"""From a folder of audio to a dataset: whole, interrupted, and damaged."""

import dataclasses
import shutil

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tensorflow_datasets as tfds

from soundstorm_jax import tokenize as tokenize_lib
from soundstorm_jax import weights
from soundstorm_jax.config import to_mapping
from soundstorm_jax.data import audio_files, records, token_parts
from soundstorm_jax.data.tokenizer import AcousticTokenizer
from soundstorm_jax.data.utterances import find_utterances
from soundstorm_jax.semantic.config import KMeansConfig
from soundstorm_jax.semantic.kmeans import KMeansTokenizer
from soundstorm_jax.soundstream.config import SoundStreamConfig
from soundstorm_jax.soundstream.network import SoundStream
from soundstorm_jax.soundstream.tokenizer import SoundStreamTokenizer
from soundstorm_jax.tokenize import TokenizeConfig, tokenize
from tests import make_audio

CODEC = SoundStreamConfig(
  # Two blocks instead of four compile in half the time.
  strides=(16, 20),
  encoder_channels=2,
  decoder_channels=2,
  dim=8,
  levels=3,
  codes=16,
)
KMEANS = KMeansConfig(clusters=8)


@pytest.fixture(scope="module")
def audio(tmp_path_factory):
  folder = make_audio.write_folder(
    tmp_path_factory.mktemp("speech"),
    {"11": [0.5, 1.7, 0.9], "12": [0.33, 0.8], "13": [0.61]},
  )
  lines = ["11-1-0000 A FIRST LINE", "11-1-0002 THE THIRD"]
  text = folder / "11" / "1" / "11-1.trans.txt"
  text.write_text("\n".join(lines))
  return folder


@pytest.fixture(scope="module")
def models(tmp_path_factory):
  folder = tmp_path_factory.mktemp("weights")
  draw = np.random.default_rng(0).normal
  # Shapes only: compiling the initialiser would take longer than the tests.
  shapes = jax.eval_shape(
    lambda: SoundStream(CODEC).init(jax.random.key(0), jnp.zeros((1, 640)))
  )
  params = jax.tree.map(
    lambda leaf: 0.3 * draw(size=leaf.shape),
    nn.meta.unbox(shapes["params"]),
  )
  weights.save_weights(
    folder / "soundstream.safetensors",
    {"params": params, "codebooks": 0.1 * draw(size=(3, 16, 8))},
    config=to_mapping(CODEC),
    kind="soundstream",
  )
  weights.save_weights(
    folder / "semantic.safetensors",
    {
      "centres": draw(size=(8, 39)),
      "mean": draw(size=39),
      "std": np.ones(39),
    },
    config=to_mapping(KMEANS),
    kind="semantic",
    dtype="float32",
  )
  return folder


@pytest.fixture(scope="module")
def tokenizers(models):
  return {
    "codec": SoundStreamTokenizer.load(models / "soundstream.safetensors"),
    "semantic": KMeansTokenizer.load(models / "semantic.safetensors"),
  }


def run(audio, output, tokenizers, **fields):
  settings = {"held_out_speakers": ("13",), "batch_size": 2, **fields}
  return tokenize(
    TokenizeConfig(audio=str(audio), output=str(output), **settings),
    **tokenizers,
  )


def contents(output, split):
  found = records.TokenRecords(output, split=split)
  return {found[i].id: found[i] for i in range(len(found))}


def assert_same(a, b):
  assert a.keys() == b.keys()
  for key in a:
    for name, value in vars(a[key]).items():
      np.testing.assert_array_equal(value, vars(b[key])[name])


@pytest.fixture(scope="module")
def whole(audio, tokenizers, tmp_path_factory):
  output = tmp_path_factory.mktemp("whole")
  result = run(audio, output, tokenizers)
  assert result.written == 6
  assert not result.unreadable
  return output


def test_the_adapter_is_a_codec(tokenizers):
  codec = tokenizers["codec"]
  assert isinstance(codec, AcousticTokenizer)
  noise = make_audio_noise(2)
  whole = np.asarray(codec.encode(noise, np.array([3200, 3200])))
  assert whole.shape == (2, 10, 3)
  assert codec.decode(jnp.asarray(whole)).shape == (2, 3200)
  short = np.asarray(codec.encode(noise, np.array([1700, 3200])))
  np.testing.assert_array_equal(short[0, :5], whole[0, :5])
  np.testing.assert_array_equal(short[1], whole[1])


def make_audio_noise(rows):
  noise = np.random.default_rng(1).normal(size=(rows, 3200)) * 0.1
  return noise.astype(np.float32)


def test_every_utterance_with_its_tokens(audio, whole, tokenizers):
  train, test = contents(whole, "train"), contents(whole, "test")
  assert test.keys() == {"13-1-0000"}
  assert train["11-1-0000"].text == "A FIRST LINE"
  assert train["11-1-0001"].text == ""
  assert train["11-1-0001"].speaker == "11"
  lengths = {k: v.acoustic.shape for k, v in train.items()}
  assert lengths == {
    "11-1-0000": (25, 3),
    "11-1-0001": (85, 3),
    "11-1-0002": (45, 3),
    "12-1-0000": (17, 3),
    "12-1-0001": (40, 3),
  }
  assert {k: len(v.semantic) for k, v in train.items()} == {
    "11-1-0000": 13,
    "11-1-0001": 43,
    "11-1-0002": 23,
    "12-1-0000": 9,
    "12-1-0001": 20,
  }
  # One by one and unpadded, but for the codec's own last frame.
  for file in audio_files.find_audio(audio)[:2]:
    samples = audio_files.read_audio(file.path, 16000)[None]
    lengths = np.array([samples.shape[1]])
    for name, tokenizer in (
      ("acoustic", tokenizers["codec"]),
      ("semantic", tokenizers["semantic"]),
    ):
      ids = np.asarray(tokenizer.encode(samples, lengths))[0]
      same = ids == getattr(train[file.id], name)
      # Another shape may round differently; it must not matter elsewhere.
      assert same.mean() > 0.99


def test_metadata_says_how_it_was_made(whole, models):
  metadata = records.read_metadata(whole)
  assert metadata.frame_rate == 50
  assert metadata.semantic_rate == 25
  assert (metadata.levels, metadata.codes) == (3, 16)
  assert metadata.semantic_vocab == 8
  assert metadata.codec_fingerprint == weights.fingerprint(
    models / "soundstream.safetensors"
  )
  assert metadata.config["held_out_speakers"] == ["13"]


def test_tfds_loads_it(whole):
  data = tfds.load("soundstorm_tokens", data_dir=str(whole), split="test")
  (row,) = tfds.as_numpy(data)
  assert row["acoustic"].shape == (31, 3)


def test_tokens_do_not_depend_on_company(audio, whole, tokenizers, tmp_path):
  alone = tmp_path / "alone"
  shutil.copytree(audio / "11", alone / "11")
  (alone / "11" / "1" / "11-1-0000.wav").unlink()
  run(alone, tmp_path / "out", tokenizers, held_out_speakers=())
  train = contents(whole, "train")
  found = contents(tmp_path / "out", "train")
  assert found.keys() == {"11-1-0001", "11-1-0002"}
  assert_same(found, {key: train[key] for key in found})


def test_speeds_add_voices_and_cuts_are_joined(
  audio, whole, tokenizers, tmp_path
):
  run(audio, tmp_path, tokenizers, speeds=(1.0, 1.25), join_seconds=2.7)
  plain, train = contents(whole, "train"), contents(tmp_path, "train")
  assert {k: (v.speaker, len(v.acoustic)) for k, v in train.items()} == {
    "11-1-0000+1": ("11", 110),
    "11-1-0002": ("11", 45),
    "12-1-0000+1": ("12", 57),
    # 3.1 s in all are 2.5 s at this speed, rounded up three times.
    "11-1-0000@1.25+2": ("11@1.25", 20 + 68 + 36),
    "12-1-0000@1.25+1": ("12@1.25", 14 + 32),
  }
  first, second = plain["11-1-0000"], plain["11-1-0001"]
  joined = train["11-1-0000+1"]
  assert joined.text == "A FIRST LINE"
  for name in ("semantic", "acoustic"):
    np.testing.assert_array_equal(
      getattr(joined, name),
      np.concatenate([getattr(first, name), getattr(second, name)]),
    )
  # What is held out is neither.
  assert_same(contents(tmp_path, "test"), contents(whole, "test"))


@pytest.mark.parametrize(
  ("fields", "message"),
  [
    ({"speeds": (1.0, 3.0)}, r"speeds must be in \[0.5, 2\], got 3.0"),
    ({"speeds": (1.1, 1.1)}, "speeds must differ"),
    ({"speeds": ()}, "speeds must name at least one"),
    ({"join_seconds": -1.0}, "join_seconds must be at least 0, got -1"),
  ],
)
def test_speeds_and_joins_have_limits(
  audio, tokenizers, tmp_path, fields, message
):
  with pytest.raises(ValueError, match=message):
    run(audio, tmp_path, tokenizers, **fields)
  assert not any(tmp_path.iterdir())


def test_an_interrupted_run_goes_on(
  audio, whole, tokenizers, tmp_path, monkeypatch
):
  monkeypatch.setattr(token_parts, "_PART", 2)
  make_part = token_parts._make_part
  made = []

  def interrupted(path, *rest):
    if len(made) == 2:
      raise KeyboardInterrupt
    made.append(path.name)
    make_part(path, *rest)

  monkeypatch.setattr(token_parts, "_make_part", interrupted)
  with pytest.raises(KeyboardInterrupt):
    run(audio, tmp_path, tokenizers)
  assert len(made) == 2

  def counted(path, *rest):
    made.append(path.name)
    make_part(path, *rest)

  monkeypatch.setattr(token_parts, "_make_part", counted)
  with pytest.raises(ValueError, match="remove it or choose another output"):
    run(audio, tmp_path, tokenizers, batch_size=3)
  assert run(audio, tmp_path, tokenizers).written == 6
  assert made == [f"00000{n}.safetensors" for n in range(3)]
  assert_same(contents(tmp_path, "train"), contents(whole, "train"))
  assert not (tmp_path / "parts").exists()


def test_a_finished_run_is_left_alone(audio, whole, tokenizers):
  (file,) = whole.rglob("*train.tfrecord*")
  before = file.stat().st_mtime_ns
  assert run(audio, whole, tokenizers).written == 6
  assert file.stat().st_mtime_ns == before
  other = dataclasses.replace(
    tokenizers["codec"].codec.config, dim=8
  )  # The same sizes, other weights.
  renamed = SoundStreamTokenizer(tokenizers["codec"].codec, fingerprint="new")
  assert renamed.levels == other.levels
  with pytest.raises(ValueError, match="choose another output"):
    run(audio, whole, {**tokenizers, "codec": renamed})


def arguments(audio, output, models, *more):
  return [
    f"--audio={audio}",
    f"--output={output}",
    f"--codec={models / 'soundstream.safetensors'}",
    f"--semantic={models / 'semantic.safetensors'}",
    "--batch_size=2",
    *more,
  ]


def test_unreadable_files_are_left_out_and_counted(
  audio, models, tmp_path, capsys
):
  damaged = tmp_path / "audio"
  shutil.copytree(audio, damaged)
  (damaged / "12" / "1" / "12-1-0001.wav").write_bytes(b"no audio")
  command = arguments(damaged, tmp_path / "out", models)
  assert tokenize_lib.main(command) == 1
  output = capsys.readouterr()
  assert "12-1-0001.wav" in output.err
  assert "5 utterances" in output.out
  assert "1 unreadable, 0 allowed" in output.out
  assert "12-1-0001" not in contents(tmp_path / "out", "train")
  assert tokenize_lib.main([*command, "--max_unreadable=1"]) == 0
  records_file = records.read_metadata(tmp_path / "out")
  assert list(records_file.config["unreadable"]) == ["12-1-0001"]


def test_a_manifest_decides(audio, models, tmp_path):
  manifest = tmp_path / "list.csv"
  manifest.write_text(
    "path,speaker,text,split\n"
    '11/1/11-1-0000.wav,anna,"Hello, you.",\n'
    "12/1/12-1-0000.wav,ben,Bye.,test\n"
  )
  command = arguments(audio, tmp_path / "out", models, f"--manifest={manifest}")
  assert tokenize_lib.main(command) == 0
  (row,) = contents(tmp_path / "out", "train").values()
  assert (row.id, row.speaker, row.text) == (
    "11/1/11-1-0000",
    "anna",
    "Hello, you.",
  )
  assert contents(tmp_path / "out", "test").keys() == {"12/1/12-1-0000"}


@pytest.mark.parametrize(
  ("rows", "message"),
  [
    ("path,text\na.wav,x\n", "lacks the columns speaker"),
    ("path,speaker,text\n", "lists nothing"),
    ("path,speaker,text,split\na.wav,s,x,dev\n", "got 'dev' for a.wav"),
    ("path,speaker,text\na.wav,s,x\na.ogg,s,x\n", "2 recordings have the id"),
  ],
)
def test_bad_manifests_are_refused(tmp_path, rows, message):
  manifest = tmp_path / "list.csv"
  manifest.write_text(rows)
  with pytest.raises(ValueError, match=message):
    find_utterances(tmp_path, manifest=manifest)
