"""SoundStorm's training step on token patterns that can be learnt."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from soundstorm_jax.config import TrainConfig
from soundstorm_jax.parallel import rules
from soundstorm_jax.soundstorm.task import SoundStormTask
from soundstorm_jax.train import read_config
from soundstorm_jax.training.metrics import add, means
from tests.tasks_shared import AudioRecorder, assert_same_step, write_codec

LEVELS, CODES, FRAMES = 3, 16, 24


def config(*, system=None, **values) -> TrainConfig:
  """Of a run; `system` has settings of SoundStorm's that are others."""
  return read_config(
    {
      "task": "soundstorm",
      "steps": 60,
      "batch_size": 8,
      "optimizer": {"lr": 1e-2, "warmup_steps": 5, "ema_decay": 0.9},
      "system": {
        "model": {
          "levels": LEVELS,
          "codes": CODES,
          "semantic_vocab": 8,
          "conformer": {
            "dim": 32,
            "layers": 1,
            "heads": 2,
            "ff_dim": 16,
            "scan_layers": False,
          },
        },
        "sampler": {"iterations": (2, 1, 1)},
      }
      | (system or {}),
    }
    | values,
  )


def make_batch(seed: int) -> dict:
  """Codes that follow from the semantic tokens, of uneven lengths."""
  rng = np.random.default_rng(seed)
  semantic = rng.integers(0, 8, (8, FRAMES), dtype=np.int32)
  acoustic = np.stack([semantic, semantic + 8, 7 - semantic], axis=-1)
  valid = np.arange(FRAMES) < rng.integers(1, FRAMES + 1, (8, 1))
  valid[0] = False  # An empty row, as a last evaluation batch has.
  return {
    "semantic": semantic,
    "acoustic": acoustic.astype(np.int32) * valid[:, :, None],
    "valid": valid,
  }


@pytest.fixture(scope="module")
def trained():
  task = SoundStormTask(config())
  state = jax.jit(lambda key: rules.unbox(task.init_state(key)))(
    jax.random.key(0)
  )
  step = jax.jit(task.train_step)
  history = []
  for k in range(60):
    key = jax.random.fold_in(jax.random.key(1), k)
    state, metrics = step(state, make_batch(k), key)
    history.append(jax.device_get(metrics))
  return task, state, history, step


def test_starts_uniform_and_learns(trained):
  _, _, history, _ = trained
  assert means(history[0])["loss"] == pytest.approx(np.log(CODES), abs=0.1)
  assert means(history[-1])["loss"] < 0.3
  total = {}
  for metrics in history:
    total = add(total, metrics)
  # The mean of cos(u), u ~ U[0, pi/2], a little more as one is always masked.
  assert 0.6 < means(total)["mask_ratio"] < 0.75


def test_levels_add_up_to_the_whole(trained):
  _, _, history, _ = trained
  for metrics in history[:3]:
    for name in ("loss", "top1", "top10"):
      parts = [metrics[f"{name}_level_{q:02d}"] for q in (1, 2, 3)]
      for field in ("total", "count"):
        np.testing.assert_allclose(
          sum(getattr(part, field) for part in parts),
          getattr(metrics[name], field),
          rtol=1e-5,
        )
    assert metrics["top1"].total <= metrics["top10"].total


def test_a_window_has_its_padding():
  task = SoundStormTask(config())
  assert task.window_frames(make_batch(0)) == FRAMES


def test_evaluates_the_average(trained):
  task, state, _, _ = trained
  evaluate = jax.jit(task.eval_step)
  good = evaluate(state, make_batch(99), jax.random.key(2))
  assert means(good)["top1"] > 0.9
  zeros = jax.tree.map(jnp.zeros_like, state.ema_params)
  bad = evaluate(
    state._replace(ema_params=zeros), make_batch(99), jax.random.key(2)
  )
  assert means(bad)["loss"] == pytest.approx(np.log(CODES), abs=1e-4)


def test_parts_of_a_batch_add_up(trained):
  _, state, _, step = trained
  optimizer = {
    "lr": 1e-2,
    "warmup_steps": 5,
    "ema_decay": 0.9,
    "accumulate": 4,
  }
  parts = jax.jit(SoundStormTask(config(optimizer=optimizer)).train_step)
  many, parted = parts(state, make_batch(5), jax.random.key(3))
  one, whole = step(state, make_batch(5), jax.random.key(3))
  assert_same_step(one, whole, many, parted)


@pytest.fixture(scope="module")
def codec_file(tmp_path_factory):
  folder = tmp_path_factory.mktemp("codec")
  return write_codec(folder, levels=LEVELS, codes=CODES)


def test_writes_audio(trained, codec_file):
  _, state, _, _ = trained
  task = SoundStormTask(
    config(sample_every=1, system={"codec_weights": codec_file})
  )
  batch = make_batch(7)
  recorder = AudioRecorder()
  on_device = jax.tree.map(jnp.asarray, batch)
  task.write_samples(state, on_device, writer=recorder, step=9)
  for name in ("9/samples/codec", "9/samples/made"):
    audio = recorder.audios[name]
    assert audio.shape == (4, FRAMES * 320, 1)
    for row in range(4):
      samples = batch["valid"][row].sum() * 320
      assert not audio[row, samples:].any()
      assert audio[row, :samples].any() == bool(samples)


def test_codec_that_does_not_fit(codec_file):
  with pytest.raises(ValueError, match="3 levels of 16 codes, the model"):
    SoundStormTask(
      config(sample_every=1, system={"codec_weights": codec_file, "model": {}})
    )


def test_work_is_about_six_operations_a_parameter():
  paper = SoundStormTask(config(system={"model": {}, "sampler": {}}))
  dim = 1024
  # Two feed-forwards, attention, and a convolution that doubles and halves.
  block = 2 * (2 * dim * 4096) + 4 * dim**2 + dim * 4 * dim + 2 * dim**2
  matrices = 12 * block + dim * 1024
  assert paper.flops_per_frame(1) == pytest.approx(6 * matrices, rel=0.002)
  # Each query meets every frame, twice.
  longer = paper.flops_per_frame(1501) - paper.flops_per_frame(1)
  assert longer == 3 * 2 * 2 * 12 * dim * 1500
