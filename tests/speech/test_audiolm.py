"""From a token dataset to speech by AudioLM: programs, files, interface."""

import dataclasses
import shutil

import jax
import numpy as np
import pytest

import soundstorm_jax
from soundstorm_jax import export, train, weights
from soundstorm_jax.audiolm.config import AudioLMSamplerConfig, AudioLMStages
from soundstorm_jax.audiolm.network import parameter_count
from soundstorm_jax.config import DataConfig, to_mapping
from soundstorm_jax.speech.requests import Request, SpeechTokens
from soundstorm_jax.training import checkpoint
from tests.audiolm import tiny_audiolm
from tests.audiolm.tiny_audiolm import make_params
from tests.data.test_tokens import METADATA, example, write
from tests.test_configs import load
from tests.tiny_weights import SEMANTIC, Q, V, write_weights
from tests.training.toy import fingerprint

HOP, RATE = 320, 16000
SAMPLER = AudioLMSamplerConfig(overlap_frames=8, cache_segments=1)


# ------------------------------------------------------------------- Programs


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
  metadata = dataclasses.replace(METADATA, levels=6)
  examples = {
    split: [example(number, 40 + number, metadata) for number in numbers]
    for split, numbers in {"train": range(6), "test": range(6, 8)}.items()
  }
  return write(tmp_path_factory.mktemp("tokens"), examples, metadata)


def tiny(stage, dataset, *, steps):
  """The tiny config, made smaller yet: fewer steps, and the dataset's sizes."""
  config = load(f"audiolm_{stage}", "tiny")
  return dataclasses.replace(
    config,
    steps=steps,
    batch_size=2,
    log_every=1,
    eval_every=2,
    save_every=2,
    data=DataConfig(
      path=str(dataset), window_seconds=0.4, eval_batches=1, workers=1
    ),
    system=with_model(config, levels=6, codes=16, semantic_vocab=8),
  )


def with_model(config, **values):
  """The system's settings with another model."""
  model = dataclasses.replace(config.system.model, **values)
  return dataclasses.replace(config.system, model=model)


def test_trains_resumes_and_exports(dataset, tmp_path):
  config = tiny("coarse", dataset, steps=4)
  result = train.train(config, tmp_path / "once")
  assert result.step == 4
  assert {"top1_level_01", "loss_level_04"} <= set(result.metrics)
  assert 0 < result.eval_metrics["loss"] < 4
  # As if it had been interrupted after step 2.
  shutil.copytree(tmp_path / "once", tmp_path / "parts")
  shutil.rmtree(tmp_path / "parts" / "checkpoints" / "4")
  again = train.train(config, tmp_path / "parts")
  assert again.step == 4
  assert again.eval_metrics == result.eval_metrics
  once, parts = (
    checkpoint.restore_for_inference(tmp_path / name)
    for name in ("once", "parts")
  )
  assert once.step == parts.step == 4
  assert fingerprint(once.state) == fingerprint(parts.state)
  path = tmp_path / "stage.safetensors"
  assert export.export(tmp_path / "once", path) == 4
  loaded = weights.load_weights(path)
  assert loaded.kind == "audiolm"
  assert loaded.config["stage"] == "coarse"
  other = dataclasses.replace(
    config, system=with_model(config, positions="sequence")
  )
  with pytest.raises(ValueError, match=r"system\.model="):
    train.train(other, tmp_path / "once")


def test_trains_the_fine_stage(dataset, tmp_path):
  result = train.train(tiny("fine", dataset, steps=2), tmp_path)
  assert {"top1_level_05", "loss_level_06"} <= set(result.metrics)
  assert 0 < result.eval_metrics["loss"] < 4


def test_data_that_does_not_fit_is_refused(dataset, tmp_path):
  config = tiny("fine", dataset, steps=1)
  other = dataclasses.replace(config, system=with_model(config, codes=17))
  with pytest.raises(ValueError, match="has codes 16, the model's is 17"):
    train.train(other, tmp_path)
  data = dataclasses.replace(config.data, window_seconds=3.02)
  with pytest.raises(
    ValueError, match=r"at most 150 frames, .*, got 151 frames"
  ):
    train.train(dataclasses.replace(config, data=data), tmp_path)


# -------------------------------------------------------------------- Configs


def test_configs_are_what_they_say():
  coarse, fine = (
    load(f"audiolm_{stage}", "paper") for stage in ("coarse", "fine")
  )
  AudioLMStages(coarse.system.model, fine.system.model)
  for config, parameters in ((coarse, 160e6), (fine, 172e6)):
    model = config.system.model
    assert config.data.window_seconds * 50 == model.window_frames
    assert parameter_count(model) == pytest.approx(parameters, rel=0.01)
  small = [
    parameter_count(load(f"audiolm_{stage}", "small").system.model)
    for stage in ("coarse", "fine")
  ]
  assert small[0] == pytest.approx(1.97e6, rel=0.01)
  assert sum(small) == pytest.approx(5.39e6, rel=0.01)
  with pytest.raises(ValueError, match="paper, small or tiny, got 'big'"):
    load("audiolm_fine", "big")


# ------------------------------------------------------------------ Interface


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  """Tokenizers, and both stages of their tokens, tiny and random."""
  folder = write_weights(tmp_path_factory.mktemp("weights"))
  for name in ("coarse", "fine"):
    config = tiny_audiolm.stage(
      name,
      levels=Q,
      codes=V,
      semantic_vocab=SEMANTIC,
      window_frames={"coarse": 24, "fine": 16}[name],
    )
    weights.save_weights(
      folder / f"audiolm_{name}.safetensors",
      make_params(config),
      config=to_mapping(config),
      kind="audiolm",
    )
  return folder


def load_model(folder, **values):
  given = {
    "batch_size": 3,
    "sampler": SAMPLER,
    "buckets": (16, 48),
  }
  return soundstorm_jax.load_audiolm(folder, **given | values)


@pytest.fixture(scope="module")
def model(folder):
  return load_model(folder)


def semantic(count, *, seed=0):
  return np.random.default_rng(seed).integers(0, SEMANTIC, count, np.int32)


def voice(frames, *, seed=0):
  codes = np.random.default_rng(seed).integers(0, V, (frames, Q), np.int32)
  return SpeechTokens(semantic(-(-frames // 2), seed=seed), codes)


REQUESTS = [
  Request(semantic(15), seed=1),
  Request(semantic(9, seed=1), prompt=voice(7), seed=2),
  Request(semantic(12, seed=2), prompt=voice(13), seed=3, frames=23),
  Request(semantic(16, seed=3), seed=4),
]


@pytest.fixture(scope="module")
def results(model):
  return model.generate_batch(REQUESTS)


def test_speaks_as_soundstorm_does(model, results):
  assert isinstance(model, soundstorm_jax.SpeechModel)
  assert [len(r.acoustic) for r in results] == [30, 18, 23, 32]
  assert [len(r.audio) for r in results] == [n * HOP for n in (30, 18, 23, 32)]
  assert [r.prompt_frames for r in results] == [0, 7, 13, 0]
  assert [r.bucket for r in results] == [48] * 4
  for result in results:
    assert result.audio.dtype == np.float32
    assert result.acoustic.shape[1] == Q
    assert 0 <= result.acoustic.min() <= result.acoustic.max() < V
  assert (model.sample_rate, model.hop) == (RATE, HOP)
  assert "token by token" in model.facts()["Sampling"]
  assert "0.0 and 0.0 million" in model.facts()["Model"]
  assert set(model.fingerprints) == {
    "audiolm_coarse",
    "audiolm_fine",
    "soundstream",
    "semantic",
  }


def test_results_are_bit_identical_whatever_the_batch_mates(model, results):
  for group in ([3, 2, 1, 0], [1], [2, 0]):
    again = model.generate_batch([REQUESTS[n] for n in group])
    for number, result in zip(group, again, strict=True):
      expected = results[number]
      np.testing.assert_array_equal(result.acoustic, expected.acoustic)
      np.testing.assert_array_equal(result.audio, expected.audio)


def test_generate_takes_a_voice_as_audio(model, results):
  request = REQUESTS[1]
  audio = model.generate(
    request.semantic, prompt=request.prompt, seed=request.seed
  )
  np.testing.assert_array_equal(audio, results[1].audio)
  noise = np.random.default_rng(0).normal(size=7 * HOP).astype(np.float32)
  made = model.generate(request.semantic, prompt=noise, seed=2)
  assert made.shape == (18 * HOP,)


def test_passes_are_counted(results):
  by_batch = {id(r.times): r.times for r in results}.values()
  # Those without a prompt, then the others, which have room for one.
  assert [t.requests for t in by_batch] == [2, 2]
  # Windows of 24 frames that share 8 begin at 0, 16 and 32; chunks of 16.
  # Without a prompt: 24 + 8 frames of 2 levels; 16 frames of one level more.
  free, prompted = by_batch
  assert free.passes == 3 + 32 * 2 + 1 + 16 * (Q - 2)
  # Frames 7 to 24 of the one, 13 to 36 of the other: 17 + 12 steps' frames.
  assert prompted.passes == 3 + (17 + 12) * 2 + 1 + 16 * (Q - 2)
  assert free.real_time_factor > 0


def test_what_does_not_fit_is_refused(folder, model, tmp_path):
  other = tmp_path / "weights"
  shutil.copytree(folder, other)
  fine = other / "audiolm_fine.safetensors"
  shutil.copy(other / "soundstorm.safetensors", fine)
  with pytest.raises(ValueError, match="must hold audiolm, got 'soundstorm'"):
    load_model(other)
  shutil.copy(other / "audiolm_coarse.safetensors", fine)
  with pytest.raises(ValueError, match="must be coarse and fine, got"):
    load_model(other)
  fine.unlink()
  with pytest.raises(FileNotFoundError, match="no weights at"):
    load_model(other)
  with pytest.raises(ValueError, match="at most 48 frames, got 66"):
    model.generate_batch([Request(semantic(33))])
  narrow = dataclasses.replace(SAMPLER, overlap_frames=24)
  with pytest.raises(ValueError, match="less than 24 frames, got 24"):
    model.generate_batch(REQUESTS, sampler=narrow)


def test_weights_survive_the_file(folder):
  config = tiny_audiolm.stage(levels=Q, codes=V, semantic_vocab=SEMANTIC)
  loaded = weights.load_weights(folder / "audiolm_coarse.safetensors")
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-3, atol=1e-3),
    loaded.params,
    make_params(config),
  )
