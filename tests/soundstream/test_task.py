"""The codec's training step: it learns, and its parts switch as configured."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from soundstorm_jax.config import DataConfig, OptimizerConfig, TrainConfig
from soundstorm_jax.soundstream.config import (
  SoundStreamConfig,
  SoundStreamTrainingConfig,
)
from soundstorm_jax.soundstream.task import SoundStreamTask

CONFIG = TrainConfig(
  task="soundstream",
  steps=100,
  batch_size=2,
  data=DataConfig(window_seconds=0.256),
  optimizer=OptimizerConfig(
    lr=3e-3, warmup_steps=0, weight_decay=0.0, clip_norm=10.0, ema_decay=0.9
  ),
  system=SoundStreamTrainingConfig(
    model=SoundStreamConfig(
      sample_rate=16_000,
      strides=(4, 8),
      encoder_channels=2,
      decoder_channels=2,
      dim=4,
      levels=3,
      codes=8,
    ),
    adversarial_start=3,
    discriminator_channels=2,
    dead_code_threshold=0.1,
  ),
)


def _tones():
  time = np.arange(4096) / 16_000
  tones = [0.3 * np.sin(2 * np.pi * hz * time) for hz in (300, 1100)]
  return {"audio": jnp.asarray(np.stack(tones), jnp.float32)}


@pytest.fixture(scope="module")
def compiled():
  task = SoundStreamTask(CONFIG)
  state = nn.unbox(jax.jit(task.init_state)(jax.random.key(0)))
  return task, state, jax.jit(task.train_step)


@pytest.fixture(scope="module")
def history(compiled):
  """States and metrics of some steps on one batch."""
  _, state, step = compiled
  states, metrics = [state], []
  for index in range(8):
    state, measured = step(state, _tones(), jax.random.key(index))
    states.append(state)
    metrics.append({k: float(m.total / m.count) for k, m in measured.items()})
  return states, metrics


def _differ(first, second):
  pairs = zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True)
  return any(bool(jnp.any(a != b)) for a, b in pairs)


def test_the_mel_distance_falls(history):
  _, metrics = history
  assert metrics[-1]["mel"] < 0.9 * metrics[0]["mel"]
  assert all(np.isfinite(list(m.values())).all() for m in metrics)


def test_codebooks_start_from_the_first_batch_and_then_move(history):
  states, _ = history
  assert not bool(states[0].codebooks.initialized)
  assert bool(states[1].codebooks.initialized)
  assert float(jnp.abs(states[1].codebooks.vectors).max()) > 0
  assert _differ(states[1].codebooks.vectors, states[2].codebooks.vectors)


def test_discriminators_join_at_their_step(history):
  states, metrics = history
  start = CONFIG.system.adversarial_start
  for index in range(8):
    trained = index >= start
    assert trained == _differ(
      states[index].discriminators, states[index + 1].discriminators
    )
    assert trained == (metrics[index]["discriminator"] > 0)
    assert trained == (metrics[index]["feature"] > 0)


@pytest.mark.parametrize("decay", [False, True])
def test_the_discriminators_rate_falls_with_the_runs_if_asked(decay, compiled):
  settings = dataclasses.replace(
    CONFIG.system, adversarial_start=0, discriminator_decay=decay
  )
  optimizer = dataclasses.replace(CONFIG.optimizer, final_lr_ratio=0.0)
  config = dataclasses.replace(CONFIG, optimizer=optimizer, system=settings)
  _, state, _ = compiled
  step = jax.jit(SoundStreamTask(config).train_step)
  moved = {}
  for done in (0, config.steps):
    begun = state._replace(step=jnp.int32(done))
    ended, _ = step(begun, _tones(), jax.random.key(0))
    moved[done] = _differ(begun.discriminators, ended.discriminators)
  assert moved == {0: True, config.steps: not decay}


def test_encoder_and_decoder_are_both_trained(history):
  states, _ = history
  for part in ("encoder", "decoder"):
    assert _differ(states[0].params[part], states[1].params[part])


def test_eval_reports_few_and_all_levels(compiled, history):
  task, _, _ = compiled
  states, _ = history
  metrics = task.eval_step(states[-1], _tones(), jax.random.key(0))
  assert {"mel_1_levels", "mel_3_levels", "si_sdr_3_levels"} <= set(metrics)
  assert float(metrics["loss"].count) == 2


def test_a_window_has_whole_frames(compiled):
  task, _, _ = compiled
  assert task.window_frames(_tones()) == 4096 // 32
  assert task.window_frames({"audio": np.zeros((2, 100))}) == 3


def test_quantizer_dropout_draws_every_level_count_per_example(compiled):
  task, _, _ = compiled
  drawn = task._draw_levels(jax.random.key(0), 600)
  counts = np.bincount(np.asarray(drawn), minlength=4)
  assert counts[0] == 0
  assert (counts[1:] > 150).all()
  # An example's draw does not depend on how many there are.
  few = task._draw_levels(jax.random.key(0), 5)
  np.testing.assert_array_equal(few, drawn[:5])


def test_settings_that_cannot_work_are_refused():
  replace = functools.partial(dataclasses.replace, CONFIG)
  with pytest.raises(ValueError, match="must be 1, got 2"):
    SoundStreamTask(replace(optimizer=OptimizerConfig(accumulate=2)))
  with pytest.raises(ValueError, match="1600 samples"):
    SoundStreamTask(replace(data=DataConfig(window_seconds=0.1)))
  with pytest.raises(ValueError, match="4100 samples"):
    SoundStreamTask(replace(data=DataConfig(window_seconds=0.25625)))
