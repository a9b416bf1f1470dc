"""SoundStorm learns eight utterances by heart, and the sampler recites them.

All of it is the real thing: tokens of the demo's speech by the shipped
tokenizers, the training step as `train` compiles it, the sampler with its
default iterations. Only the network is small, and has no dropout. Four of the
codec's levels are learnt: a step trains one level of an example, so the first
twelve would take three times as long to get as far.

  python -m pytest -m slow -s tests/soundstorm/test_overfit.py
"""

import time
from fractions import Fraction

import jax
import numpy as np
import pytest

from soundstorm_jax.config import MeshConfig, OptimizerConfig, TrainConfig
from soundstorm_jax.data.audio_files import find_audio, read_audio
from soundstorm_jax.data.rates import repeat_to_frames
from soundstorm_jax.data.tokenizer_batches import encode_utterances
from soundstorm_jax.evaluation.tokens import count_codes, token_accuracy
from soundstorm_jax.layers.config import ConformerConfig
from soundstorm_jax.parallel.mesh import make_mesh, shard_batch, use_mesh
from soundstorm_jax.semantic.learned import load_semantic
from soundstorm_jax.soundstorm.config import (
  MaskingConfig,
  SoundStormConfig,
  SoundStormTrainingConfig,
  default_sampler,
)
from soundstorm_jax.soundstorm.sampler import make_sampler
from soundstorm_jax.soundstorm.task import SoundStormTask
from soundstorm_jax.soundstream.tokenizer import SoundStreamTokenizer
from soundstorm_jax.speech.loading import SHIPPED
from soundstorm_jax.training.metrics import add, means
from soundstorm_jax.training.state import abstract_state, init_state
from soundstorm_jax.training.step import compile_eval_step, compile_train_step

pytestmark = pytest.mark.slow

SECONDS, LEVELS = 3, 4
PROMPT_FRAMES = 25  # Half a second.
CONFIG = TrainConfig(
  steps=400,
  batch_size=8,
  optimizer=OptimizerConfig(
    lr=3e-3, warmup_steps=50, weight_decay=0.0, ema_decay=0.98
  ),
  system=SoundStormTrainingConfig(
    model=SoundStormConfig(
      levels=LEVELS,
      conformer=ConformerConfig(
        dim=128, layers=3, heads=4, ff_dim=256, scan_layers=False
      ),
    ),
    masking=MaskingConfig(no_prompt_prob=0.3),
  ),
)


def speech_tokens():
  """The first seconds of an utterance by each of the demo's voices."""
  codec = SoundStreamTokenizer.load(SHIPPED / "soundstream.safetensors")
  semantic = load_semantic(SHIPPED / "semantic.safetensors")
  assert codec.sample_rate == semantic.sample_rate
  folder = SHIPPED.parents[1] / "demo" / "speech"
  voices = {file.speaker: file for file in find_audio(folder)}
  length = SECONDS * codec.sample_rate
  audio = [
    read_audio(file.path, codec.sample_rate, length=length)
    for file in voices.values()
  ]
  acoustic = encode_utterances(codec, audio, batch_size=8)
  spoken = [
    repeat_to_frames(
      ids,
      len(frames),
      semantic_rate=Fraction(semantic.tokens_per_second),
      frame_rate=Fraction(codec.tokens_per_second),
    )
    for ids, frames in zip(
      encode_utterances(semantic, audio, batch_size=8), acoustic, strict=True
    )
  ]
  return {
    "acoustic": np.stack(acoustic)[:, :, :LEVELS],
    "semantic": np.stack(spoken),
    "valid": np.ones((len(audio), len(spoken[0])), bool),
  }


@pytest.fixture(scope="module")
def tokens():
  return speech_tokens()


@pytest.fixture(scope="module")
def trained(tokens):
  """The state after training, and the loss by level under random masks."""
  assert tokens["acoustic"].shape == (8, 50 * SECONDS, LEVELS)
  task = SoundStormTask(CONFIG)
  mesh = make_mesh(MeshConfig(), devices=jax.devices()[:1])
  began = time.perf_counter()
  with use_mesh(mesh):
    target = abstract_state(task.init_state, mesh)
    state = init_state(task.init_state, jax.random.key(0), mesh=mesh)
    step = compile_train_step(task, target, mesh=mesh)
    evaluate = compile_eval_step(task, target, mesh=mesh)
    batch = shard_batch(tokens, mesh)
    for number in range(CONFIG.steps):
      state, metrics = step(state, batch, jax.random.key(1))
      if (number + 1) % 100 == 0:
        print(f"step {number + 1}: loss {means(metrics)['loss']:.4f}")
    assert int(state.step) == CONFIG.steps
    total = {}
    for number in range(16):
      key = jax.random.fold_in(jax.random.key(2), number)
      total = add(total, jax.device_get(evaluate(state, batch, key)))
  print(f"{CONFIG.steps} steps in {time.perf_counter() - began:.0f} s")
  return state, means(total)


def test_loss_at_level_one_falls_below_a_tenth_of_a_nat(trained):
  _, losses = trained
  by_level = [losses[f"loss_level_{q + 1:02d}"] for q in range(LEVELS)]
  print("nats by level, random masks:", np.round(by_level, 4))
  assert by_level[0] < 0.1


def test_predicts_what_it_learnt_with_everything_masked(tokens, trained):
  state, _ = trained
  measures = dict(
    token_accuracy(
      CONFIG.system.model,
      params=state.ema_params,
      batches=[tokens],
      train_counts=count_codes(
        tokens["acoustic"], levels=LEVELS, codes=CONFIG.system.model.codes
      ),
      prompt_frames=0,
    )
  )
  for name in ("masked_nats", "unigram_nats"):
    values = [measures[f"level_{q + 1:02d}/{name}"] for q in range(LEVELS)]
    print(f"{name} by level:", np.round(values, 4))
  assert measures["level_01/masked_nats"] < 0.1


@pytest.mark.parametrize("prompt_frames", [PROMPT_FRAMES, 0])
def test_sampler_recites(tokens, trained, prompt_frames):
  state, _ = trained
  truth = tokens["acoustic"]
  rows, frames, _ = truth.shape
  prompt = np.zeros_like(truth)
  prompt[:, :prompt_frames] = truth[:, :prompt_frames]
  sample = make_sampler(CONFIG.system.model, default_sampler(LEVELS))
  made = sample(
    {"params": state.ema_params},
    tokens["semantic"],
    prompt=prompt,
    prompt_length=np.full(rows, prompt_frames, np.int32),
    length=np.full(rows, frames, np.int32),
    keys=jax.random.split(jax.random.key(3, impl="threefry2x32"), rows),
  )
  right = (np.asarray(made) == truth)[:, prompt_frames:].mean((0, 1))
  print(f"prompt of {prompt_frames} frames, right by level:", right.round(4))
  assert right[0] >= 0.99
