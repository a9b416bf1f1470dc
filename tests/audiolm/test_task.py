"""The stages' training step: what it counts, and that it learns by heart."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from soundstorm_jax.audiolm.config import (
  AudioLMConfig,
  AudioLMSamplerConfig,
  AudioLMStages,
)
from soundstorm_jax.audiolm.network import decoding_params, parameter_count
from soundstorm_jax.audiolm.sampler import make_sampler
from soundstorm_jax.audiolm.task import AudioLMTask
from soundstorm_jax.config import TrainConfig, to_mapping
from soundstorm_jax.parallel import rules
from soundstorm_jax.train import read_config
from soundstorm_jax.training.metrics import means
from tests.tasks_shared import AudioRecorder, assert_same_step, write_codec

LEVELS, CODES, FRAMES, ROWS = 4, 16, 12, 4


def config(stage, *, model=None, codec_weights="", **values) -> TrainConfig:
  return read_config(
    {
      "task": "audiolm",
      "steps": 120,
      "batch_size": ROWS,
      "optimizer": {
        "lr": 1e-2,
        "warmup_steps": 5,
        "ema_decay": 0.9,
        "weight_decay": 0.0,
      },
      "system": {
        "model": {
          "stage": stage,
          "levels": LEVELS,
          "codes": CODES,
          "semantic_vocab": 8,
          "coarse_levels": 2,
          # Longer than the data: a batch need not fill a window.
          "window_frames": 16,
          "transformer": {
            "dim": 32,
            "layers": 2,
            "heads": 2,
            "ff_dim": 64,
            "scan_layers": False,
          },
        }
        | (model or {}),
        "codec_weights": codec_weights,
      },
    }
    | values,
  )


def make_batch():
  """Random tokens, the same each time, to be learnt by heart."""
  rng = np.random.default_rng(0)
  valid = np.arange(FRAMES) < np.array([[12], [9], [12], [5]])
  semantic = rng.integers(0, 8, (ROWS, FRAMES // 2)).repeat(2, axis=1)
  acoustic = rng.integers(0, CODES, (ROWS, FRAMES, LEVELS))
  return {
    "semantic": (semantic * valid).astype(np.int32),
    "acoustic": (acoustic * valid[:, :, None]).astype(np.int32),
    "valid": valid,
  }


@pytest.fixture(scope="module")
def trained():
  """Both stages after training: tasks, states, histories, steps."""
  result = {}
  for stage in ("coarse", "fine"):
    task = AudioLMTask(config(stage))
    state = jax.jit(lambda key, task=task: rules.unbox(task.init_state(key)))(
      jax.random.key(0)
    )
    step = jax.jit(task.train_step)
    history = []
    for _ in range(120):
      state, metrics = step(state, make_batch(), jax.random.key(1))
      history.append(metrics)
    result[stage] = task, state, jax.device_get(history), step
  return result


@pytest.mark.parametrize(
  ("stage", "levels"), [("coarse", [1, 2]), ("fine", [3, 4])]
)
def test_starts_uniform_learns_and_counts(trained, stage, levels):
  _, _, history, _ = trained[stage]
  assert means(history[0])["loss"] == pytest.approx(np.log(CODES), abs=0.15)
  assert means(history[-1])["loss"] < 0.1
  for metrics in (history[0], history[-1]):
    # Valid frames, and none of the conditioning.
    assert metrics["loss"].count == make_batch()["valid"].sum() * 2
    for name in ("loss", "top1", "top10"):
      parts = [metrics[f"{name}_level_{q:02d}"] for q in levels]
      for field in ("total", "count"):
        np.testing.assert_allclose(
          sum(getattr(part, field) for part in parts),
          getattr(metrics[name], field),
          rtol=1e-5,
        )
    others = {f"loss_level_{q:02d}" for q in (1, 2, 3, 4)}
    assert others & set(metrics) == {f"loss_level_{q:02d}" for q in levels}
    assert metrics["top1"].total <= metrics["top10"].total


def test_sampler_recites(trained):
  """What was learnt by heart comes out of the compiled sampler."""
  stages = AudioLMStages(
    *(config(stage).system.model for stage in ("coarse", "fine"))
  )
  params = {
    stage: decoding_params(getattr(stages, stage), state.ema_params)
    for stage, (_, state, _, _) in trained.items()
  }
  batch = make_batch()
  truth, length = batch["acoustic"], batch["valid"].sum(1).astype(np.int32)
  sample = make_sampler(stages, AudioLMSamplerConfig(cache_segments=1))
  keys = jax.random.split(jax.random.key(2, impl="threefry2x32"), ROWS)
  for known in (2, 0):
    made = sample(
      params,
      batch["semantic"],
      prompt=truth[:, :2],
      prompt_length=np.full(ROWS, known, np.int32),
      length=length,
      keys=keys,
    )
    right = (np.asarray(made) == truth)[batch["valid"]]
    assert right.mean() > 0.95
  strange = sample(
    params,
    (batch["semantic"] + 1) % 8,
    prompt=truth[:, :2],
    prompt_length=np.zeros(ROWS, np.int32),
    length=length,
    keys=keys,
  )
  assert (np.asarray(strange) == truth)[batch["valid"]].mean() < 0.7


def test_evaluates_the_average(trained):
  task, state, _, _ = trained["coarse"]
  evaluate = jax.jit(task.eval_step)
  good = evaluate(state, make_batch(), jax.random.key(2))
  assert means(good)["top1"] > 0.95
  zeros = jax.tree.map(jnp.zeros_like, state.ema_params)
  bad = evaluate(
    state._replace(ema_params=zeros), make_batch(), jax.random.key(2)
  )
  assert means(bad)["loss"] == pytest.approx(np.log(CODES), abs=1e-4)


def test_parts_of_a_batch_add_up(trained):
  _, state, _, step = trained["coarse"]
  values = to_mapping(config("coarse").optimizer) | {"accumulate": 2}
  task = AudioLMTask(config("coarse", optimizer=values))
  many, parted = jax.jit(task.train_step)(
    state, make_batch(), jax.random.key(3)
  )
  one, whole = step(state, make_batch(), jax.random.key(3))
  assert_same_step(one, whole, many, parted)


@pytest.fixture(scope="module")
def codec_file(tmp_path_factory):
  folder = tmp_path_factory.mktemp("codec")
  return write_codec(folder, levels=LEVELS, codes=CODES)


@pytest.mark.parametrize("stage", ["coarse", "fine"])
def test_writes_audio(trained, codec_file, stage):
  _, state, _, _ = trained[stage]
  task = AudioLMTask(config(stage, sample_every=1, codec_weights=codec_file))
  batch = jax.tree.map(jnp.asarray, make_batch())
  recorder = AudioRecorder()
  task.write_samples(state, batch, writer=recorder, step=9)
  made, codec = (
    recorder.audios[f"9/samples/{name}"] for name in ("made", "codec")
  )
  assert made.shape == codec.shape == (ROWS, FRAMES * 320, 1)
  for row, length in enumerate(make_batch()["valid"].sum(1)):
    assert codec[row, : length * 320].any()
    assert not codec[row, length * 320 :].any()
    assert not made[row, length * 320 :].any()
  # Recited, in the main.
  assert np.abs(made - codec).mean() < 0.5 * np.abs(codec).mean()


def test_codec_that_does_not_fit(codec_file):
  with pytest.raises(ValueError, match="4 levels of 16 codes, the model"):
    AudioLMTask(
      config(
        "coarse",
        sample_every=1,
        codec_weights=codec_file,
        model={"levels": LEVELS + 1},
      )
    )


def test_work_is_about_six_operations_a_parameter_and_slot():
  paper = AudioLMTask(read_config({"task": "audiolm"}))
  dim = 1024
  block = 4 * dim**2 + 2 * dim * 4096
  # Ten seconds: 250 semantic tokens, and 2000 that are predicted.
  products = 2250 * 12 * block + 2000 * dim * 1024
  attention = 2 * 12 * dim * 2250**2
  assert paper.flops_per_frame(500) * 500 == pytest.approx(
    6 * (products + attention), rel=0.002
  )
  assert parameter_count(AudioLMConfig()) > 12 * block


def test_every_parameter_and_activation_has_names_in_the_table(monkeypatch):
  from flax import linen as nn

  asked = set()
  original = nn.with_logical_constraint

  def recording(x, names, *args, **kwargs):
    asked.update(name for name in names if name)
    return original(x, names, *args, **kwargs)

  monkeypatch.setattr(nn, "with_logical_constraint", recording)
  boxed = jax.eval_shape(
    AudioLMTask(config("coarse")).init_state, jax.random.key(0)
  )
  leaves = jax.tree.leaves(
    boxed.params, is_leaf=lambda x: isinstance(x, nn.LogicallyPartitioned)
  )
  asked.update(name for leaf in leaves for name in leaf.names if name)
  assert {"act_mlp", "act_heads", "heads", "vocab"} <= asked
  assert asked <= set(dict(rules.RULES))
