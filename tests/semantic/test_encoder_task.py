"""The semantic encoder's training step: it learns, and counts what is known."""

import dataclasses

import jax
import numpy as np
import pytest

from soundstorm_jax.config import DataConfig, OptimizerConfig, TrainConfig
from soundstorm_jax.layers.config import ConformerConfig
from soundstorm_jax.parallel import rules
from soundstorm_jax.semantic.config import (
  SemanticEncoderConfig,
  SemanticTrainingConfig,
  WhisperConfig,
)
from soundstorm_jax.semantic.encoder_task import SemanticTask
from soundstorm_jax.semantic.examples import make_listener
from soundstorm_jax.semantic.import_whisper import import_whisper
from tests.semantic.test_whisper_file import tiny_arrays, write_model

CONFIG = TrainConfig(
  task="semantic_encoder",
  steps=40,
  batch_size=2,
  data=DataConfig(window_seconds=0.8),
  optimizer=OptimizerConfig(lr=1e-2, warmup_steps=0, ema_decay=0.5),
  system=SemanticTrainingConfig(
    model=SemanticEncoderConfig(
      mels=16,
      conformer=ConformerConfig(
        dim=16, layers=1, heads=2, ff_dim=16, conv_kernel=3
      ),
    ),
    phones="phones.csv",
    codes=8,
    code_dim=4,
    mask_probability=0.1,
    mask_frames=3,
    ctc_weight=1.0,
    frame_weight=1.0,
  ),
)
LOUD = dataclasses.replace(
  CONFIG,
  system=dataclasses.replace(
    CONFIG.system,
    warp=1.2,
    tempo=1.2,
    noise_snr=20.0,
    mel_masks=2,
    mel_mask_width=4,
  ),
)


def batch():
  """Two tones in turn, each with a phone of its own."""
  time = np.arange(12800) / 16000
  phones = np.repeat([1, 2, 0, 1, 3, 2, 0, 3], 10)[None].repeat(2, axis=0)
  pitch = np.array([0.0, 300.0, 1200.0, 3000.0])[phones].repeat(160, axis=1)
  audio = 0.3 * np.sin(2 * np.pi * pitch * time)
  length = np.array([12800, 8000], np.int32)
  phones[1, 50:] = -1
  return {
    "audio": audio.astype(np.float32),
    "length": length,
    "phones": phones.astype(np.int32),
  }


def change_model(config, **changes):
  model = dataclasses.replace(config.system.model, **changes)
  return change_system(config, model=model)


def change_system(config, **changes):
  return dataclasses.replace(
    config, system=dataclasses.replace(config.system, **changes)
  )


def start(config):
  task = SemanticTask(config)
  return task, rules.unbox(task.init_state(jax.random.key(0)))


def mean(metrics, name):
  return float(metrics[name].total / metrics[name].count)


def test_it_learns_the_phones():
  task, state = start(LOUD)
  step = jax.jit(task.train_step)
  first = jax.jit(task.eval_step)(state, batch(), jax.random.key(1))
  for number in range(40):
    state, metrics = step(state, batch(), jax.random.key(number))
  assert int(state.step) == 40
  assert np.isfinite(mean(metrics, "loss"))
  last = jax.jit(task.eval_step)(state, batch(), jax.random.key(1))
  assert mean(last, "phone_loss") < 0.5 * mean(first, "phone_loss")
  assert mean(last, "phone_top1") > 0.8
  assert mean(last, "ctc_loss") < 0.7 * mean(first, "ctc_loss")
  assert mean(last, "code_loss") < mean(first, "code_loss")


def test_what_is_unknown_does_not_count():
  task, state = start(CONFIG)
  evaluate = jax.jit(task.eval_step)
  known = evaluate(state, batch(), jax.random.key(0))
  # 130 steps of 10 ms in frames of four, a half-known one rounded down.
  assert float(known["phone_loss"].count) == pytest.approx(130 / 4)
  blank = batch()
  blank["phones"][:] = -1
  unknown = evaluate(state, blank, jax.random.key(0))
  assert float(unknown["phone_loss"].count) == 0
  assert float(unknown["ctc_loss"].count) == 0
  new, metrics = jax.jit(task.train_step)(state, blank, jax.random.key(0))
  assert np.isfinite(mean(metrics, "loss"))
  assert all(np.isfinite(x).all() for x in jax.tree.leaves(new.params))


def test_what_follows_a_recording_does_not_count():
  task, state = start(CONFIG)
  evaluate = jax.jit(task.eval_step)
  one, other = batch(), batch()
  other["audio"][1, 8000:] = 1.0
  for name in ("phone_loss", "ctc_loss", "code_loss"):
    first, second = (
      evaluate(state, rows, jax.random.key(0)) for rows in (one, other)
    )
    assert mean(first, name) == pytest.approx(mean(second, name), rel=1e-4)


def test_parts_of_a_batch_give_its_mean_gradient():
  config = dataclasses.replace(
    CONFIG, optimizer=dataclasses.replace(CONFIG.optimizer, accumulate=2)
  )
  task, state = start(config)
  _, metrics = jax.jit(task.train_step)(state, batch(), jax.random.key(0))
  assert float(metrics["loss"].count) == 2
  assert np.isfinite(mean(metrics, "grad_norm"))


@pytest.mark.parametrize(
  ("config", "message"),
  [
    (
      dataclasses.replace(CONFIG, data=DataConfig(window_seconds=0.81)),
      "whole number of tokens",
    ),
    (
      change_model(CONFIG, tokens_per_second=50),
      "frames must be of 1 / 100 s, got 80",
    ),
  ],
)
def test_refuses_sizes_that_do_not_fit(config, message):
  with pytest.raises(ValueError, match=message):
    SemanticTask(config)


def test_a_window_has_tokens_for_frames():
  task = SemanticTask(CONFIG)
  assert task.window_frames(batch()) == 20


def test_whisper_is_there_if_and_only_if_the_encoder_reads_it(tmp_path):
  sizes = WhisperConfig(layers=2, dim=6, heads=2)
  write_model(tmp_path, tiny_arrays(mels=16))
  path = str(tmp_path / "whisper.safetensors")
  import_whisper(str(tmp_path), path)

  def config(sizes, path):
    return change_model(change_system(LOUD, whisper=path), whisper=sizes)

  assert make_listener(config(sizes, path)).channels == 12
  assert make_listener(LOUD).channels == 64
  for unfit in (config(sizes, ""), config(WhisperConfig(), path)):
    with pytest.raises(ValueError, match="must name a file if"):
      SemanticTask(unfit)
  with pytest.raises(ValueError, match=r"is of .*'heads': 2"):
    SemanticTask(config(WhisperConfig(layers=2, dim=6, heads=3), path))
  task, state = start(config(sizes, path))
  step, losses = jax.jit(task.train_step), []
  for number in range(20):
    state, metrics = step(state, batch(), jax.random.key(number))
    losses.append(mean(metrics, "loss"))
  assert losses[-1] < losses[0]
