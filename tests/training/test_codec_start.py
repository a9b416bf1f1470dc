"""The codec's running start against NumPy's eigenvectors and plain sums."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from soundstorm_jax.config import (
  CodecTrainingConfig,
  DataConfig,
  OptimizerConfig,
  SoundStreamConfig,
  TrainConfig,
)
from soundstorm_jax.models.soundstream import SoundStream, lapped_signal
from soundstorm_jax.training import codec_start
from soundstorm_jax.training.soundstream_task import SoundStreamTask

CODEC = SoundStreamConfig(
  sample_rate=16_000,
  mdct_hop=8,
  strides=(2, 2),
  encoder_channels=2,
  decoder_channels=2,
  dim=32,
  levels=3,
  codes=16,
)
CONFIG = TrainConfig(
  task="soundstream",
  steps=100,
  batch_size=2,
  data=DataConfig(window_seconds=0.256),
  optimizer=OptimizerConfig(lr=1e-3, warmup_steps=0, weight_decay=0.0),
  soundstream=CODEC,
  codec_training=CodecTrainingConfig(
    adversarial_start=1000, discriminator_channels=2, start_batches=3
  ),
)


def _batches(count):
  random = np.random.default_rng(0)
  for _ in range(count):
    noise = random.normal(size=(2, 4096)).cumsum(axis=1) * 0.01
    yield jnp.asarray(noise, jnp.float32)


def test_components_are_those_of_numpy():
  signal = np.random.default_rng(0).normal(size=(50, 6)).astype(np.float32)
  signal *= np.arange(1, 7)
  moments = jnp.asarray(signal.T @ signal)
  found = codec_start.principal_components(moments, 2)
  _, _, right = np.linalg.svd(signal, full_matrices=False)
  for index in range(2):
    same = abs(float(found[:, index] @ right[index]))
    assert same == pytest.approx(1.0, abs=1e-4)
  with pytest.raises(ValueError, match=r"at most 6.*got 7"):
    codec_start.principal_components(moments, 7)


def test_full_width_start_gives_the_audio_back():
  audio = list(_batches(2))
  model = SoundStream(CODEC)
  params = nn.unbox(model.init(jax.random.key(0), audio[0])["params"])
  params = codec_start.start_linear(CODEC, params, audio)
  made = model.apply({"params": params}, audio[0])
  # All 32 coefficients of a frame fit into the latents; the ends alias.
  np.testing.assert_allclose(made[:, 4:-4], audio[0][:, 4:-4], atol=1e-4)


def test_narrow_start_keeps_the_strongest_directions():
  codec = dataclasses.replace(CODEC, dim=8)
  audio = list(_batches(2))
  model = SoundStream(codec)
  params = nn.unbox(model.init(jax.random.key(0), audio[0])["params"])
  started = codec_start.start_linear(codec, params, audio)

  def lost(params):
    made = model.apply({"params": params}, audio[0])
    return float(
      jnp.sum(
        jnp.square(lapped_signal(codec, made) - lapped_signal(codec, audio[0]))
      )
    )

  assert lost(started) < 0.2 * lost(params)


def test_codebooks_count_as_one_batch():
  audio = list(_batches(3))
  model = SoundStream(CODEC)
  params = nn.unbox(model.init(jax.random.key(0), audio[0])["params"])
  books = codec_start.start_codebooks(
    CODEC, params, audio, key=jax.random.key(1)
  )
  assert books.vectors.shape == (3, 16, 32)
  assert bool(books.initialized)
  frames = audio[0].size / CODEC.hop
  np.testing.assert_allclose(books.counts.sum(axis=1), frames, rtol=1e-5)
  np.testing.assert_allclose(
    books.sums, books.vectors * books.counts[..., None], rtol=1e-5
  )


def test_task_starts_from_as_many_batches_as_asked():
  task = SoundStreamTask(CONFIG)
  state = nn.unbox(jax.jit(task.init_state)(jax.random.key(0)))
  batches = ({"audio": audio} for audio in _batches(10))
  started = task.start_from_data(state, batches, jax.random.key(1))
  assert len(list(batches)) == 7
  audio = next(_batches(1))

  def quality(state):
    metrics = jax.jit(task.eval_step)(
      state, {"audio": audio}, jax.random.key(0)
    )
    mean = metrics["si_sdr_3_levels"]
    return float(mean.total / mean.count)

  assert quality(started) > 5.0
  assert not quality(state) > 0.0


def test_no_batches_no_start():
  config = dataclasses.replace(
    CONFIG,
    codec_training=dataclasses.replace(CONFIG.codec_training, start_batches=0),
  )
  task = SoundStreamTask(config)
  state = nn.unbox(jax.jit(task.init_state)(jax.random.key(0)))
  assert task.start_from_data(state, iter(()), jax.random.key(1)) is state
