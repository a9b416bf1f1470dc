"""A codec that learns from another: its latents, its codes, its speech."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from soundstorm_jax.config import (
  DataConfig,
  OptimizerConfig,
  TrainConfig,
  to_mapping,
)
from soundstorm_jax.parallel.rules import unbox
from soundstorm_jax.soundstream.config import (
  SoundStreamConfig,
  SoundStreamTrainingConfig,
)
from soundstorm_jax.soundstream.network import SoundStream
from soundstorm_jax.soundstream.task import SoundStreamTask
from soundstorm_jax.soundstream.teacher import give_lesson, load_teacher
from soundstorm_jax.weights import save_weights

CODEC = SoundStreamConfig(
  strides=(20,),
  patch=16,
  encoder_channels=2,
  decoder_channels=2,
  dim=4,
  levels=3,
  codes=8,
  separable=True,
  group_width=2,
  activation="leaky_relu",
)
TRAINING = SoundStreamTrainingConfig(
  codebook_decay=1.0,
  dead_code_threshold=0.0,
  commitment_weight=0.0,
  waveform_weight=1.0,
  spectrum_weight=1.0,
  adversarial_start=1000,
)


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
  """Path of the weights of a random codec, which makes a sound."""
  params = SoundStream(CODEC).init(jax.random.key(7), jnp.zeros((1, 640)))
  # What the encoder gives is far from the codes, so that they matter.
  books = 2.0 * np.random.default_rng(0).normal(size=(3, 8, 4))
  path = tmp_path_factory.mktemp("teacher") / "teacher.safetensors"
  save_weights(
    path,
    {"params": unbox(params["params"]), "codebooks": books},
    config=to_mapping(CODEC),
    kind="soundstream",
    dtype="float32",
  )
  return str(path)


def _config(teacher, *, codec=CODEC, **training):
  return TrainConfig(
    task="soundstream",
    steps=100,
    batch_size=2,
    data=DataConfig(window_seconds=0.24),
    optimizer=OptimizerConfig(lr=3e-3, warmup_steps=0, weight_decay=0.0),
    system=dataclasses.replace(
      TRAINING, model=codec, teacher=teacher, **training
    ),
  )


def _audio():
  noise = np.random.default_rng(1).normal(size=(2, 3840))
  return {"audio": jnp.asarray(0.1 * noise, jnp.float32)}


def _steps(config, count=1):
  """The states and the last metrics of some steps."""
  task = SoundStreamTask(config)
  state = unbox(task.init_state(jax.random.key(0)))
  states = [task.start_from_data(state, iter(()), jax.random.key(1))]
  step = jax.jit(task.train_step)
  metrics = []
  for number in range(count):
    state, measured = step(states[-1], _audio(), jax.random.key(number))
    states.append(state)
    metrics.append({k: float(m.total / m.count) for k, m in measured.items()})
  return states, metrics


def _moved(states, part):
  first, last = (
    jax.tree.leaves(s.params[part]) for s in (states[0], states[-1])
  )
  return any(bool(jnp.any(a != b)) for a, b in zip(first, last, strict=True))


def test_a_copy_of_the_teacher_has_nothing_to_learn(teacher):
  states, metrics = _steps(_config(teacher, start=teacher, latent_weight=0.0))
  assert metrics[0]["latents"] == pytest.approx(0, abs=1e-9)
  assert metrics[0]["waveform"] == pytest.approx(0, abs=1e-7)
  assert metrics[0]["spectrum"] == pytest.approx(0, abs=1e-3)
  # The decoder hears the teacher's latents, so nothing else reaches it.
  assert not _moved(states, "encoder")


def test_without_shares_codec_and_target_are_as_without_a_teacher(teacher):
  states, metrics = _steps(
    _config(
      teacher,
      start=teacher,
      latent_weight=0.0,
      teacher_latents=0.0,
      teacher_speech=0.0,
    )
  )
  # The recording is the target, and not what a codec makes of it.
  assert metrics[0]["waveform"] > 0.01
  assert _moved(states, "encoder")
  assert _moved(states, "decoder")


def test_latents_and_speech_come_nearer_and_codebooks_stay(teacher):
  states, metrics = _steps(_config(teacher), count=30)
  for name in ("latents", "mel"):
    assert metrics[-1][name] < 0.9 * metrics[0][name], name
  books = [np.asarray(state.codebooks.vectors) for state in states]
  assert np.abs(books[0]).max() > 1
  np.testing.assert_array_equal(books[0], books[-1])


def test_the_first_step_may_be_given_all_of_the_start(teacher):
  task = SoundStreamTask(_config(teacher, start=teacher))
  state = unbox(task.init_state(jax.random.key(0)))
  # Twice: what the first start is made of is not given away.
  for _ in range(2):
    made = task.start_from_data(state, iter(()), jax.random.key(1))
    jax.jit(lambda books: jax.tree.map(jnp.copy, books), donate_argnums=0)(
      made.codebooks
    )
    assert made.codebooks.counts.is_deleted()


def test_an_examples_shares_do_not_depend_on_the_batch(teacher):
  settings = _config(teacher, teacher_latents=0.5, teacher_speech=0.3).system
  audio = jnp.zeros((200, 3840))

  def lesson(audio):
    return give_lesson(
      load_teacher(settings), audio, config=settings, key=jax.random.key(0)
    )

  many, few = lesson(audio), lesson(audio[:7])
  np.testing.assert_array_equal(many.heard[:7], few.heard)
  np.testing.assert_array_equal(many.spoken[:7], few.spoken)
  assert 0.35 < float(jnp.mean(many.heard)) < 0.65
  assert 0.15 < float(jnp.mean(many.spoken)) < 0.45


def test_evaluation_tells_how_far_the_latents_are(teacher):
  config = _config(teacher, start=teacher)
  task = SoundStreamTask(config)
  state = unbox(task.init_state(jax.random.key(0)))
  state = task.start_from_data(state, iter(()), jax.random.key(1))
  metrics = task.eval_step(state, _audio(), jax.random.key(0))
  assert float(metrics["latents"].total) == pytest.approx(0, abs=1e-9)


def test_a_teacher_of_other_sizes_is_refused(teacher):
  wide = dataclasses.replace(CODEC, dim=8)
  with pytest.raises(ValueError, match="dim 4, the codec 8"):
    SoundStreamTask(_config(teacher, codec=wide))
  with pytest.raises(ValueError, match="8 codes"):
    SoundStreamTask(
      _config(teacher, codec=dataclasses.replace(CODEC, codes=16))
    )
  with pytest.raises(FileNotFoundError):
    SoundStreamTask(_config(teacher + "x"))


def test_a_start_of_other_sizes_is_refused(teacher):
  config = _config(
    "", codec=dataclasses.replace(CODEC, codes=16), start=teacher
  )
  task = SoundStreamTask(config)
  state = unbox(task.init_state(jax.random.key(0)))
  with pytest.raises(ValueError, match=r"\(3, 8, 4\)"):
    task.start_from_data(state, iter(()), jax.random.key(1))
