"""The codec's running start: k-means over many batches."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from soundstorm_jax.config import DataConfig, OptimizerConfig, TrainConfig
from soundstorm_jax.soundstream import codebook_start, quantizer
from soundstorm_jax.soundstream.config import (
  SoundStreamConfig,
  SoundStreamTrainingConfig,
)
from soundstorm_jax.soundstream.network import SoundStream
from soundstorm_jax.soundstream.task import SoundStreamTask

CODEC = SoundStreamConfig(
  encoder_channels=2, decoder_channels=2, dim=10, levels=3, codes=16
)
CONFIG = TrainConfig(
  task="soundstream",
  steps=100,
  batch_size=2,
  data=DataConfig(window_seconds=0.26),
  optimizer=OptimizerConfig(lr=1e-3, warmup_steps=0, weight_decay=0.0),
  system=SoundStreamTrainingConfig(
    model=CODEC,
    adversarial_start=1000,
    discriminator_channels=2,
    start_batches=3,
  ),
)


def _batches(count):
  random = np.random.default_rng(0)
  for _ in range(count):
    noise = random.normal(size=(2, 4160)).cumsum(axis=1) * 0.01
    yield jnp.asarray(noise, jnp.float32)


def test_codebooks_count_as_one_batch():
  audio = list(_batches(3))
  model = SoundStream(CODEC)
  params = nn.unbox(model.init(jax.random.key(0), audio[0])["params"])
  books = codebook_start.start_codebooks(
    CODEC, params, audio, key=jax.random.key(1)
  )
  assert books.vectors.shape == (3, 16, 10)
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

  latents = SoundStream(CODEC).apply(
    {"params": state.params}, audio, method="encode"
  )
  books = started.codebooks.vectors
  left = latents - quantizer.quantize(latents, books).values
  assert float(jnp.std(left)) < 0.2 * float(jnp.std(latents))


def test_no_batches_no_start():
  config = dataclasses.replace(
    CONFIG, system=dataclasses.replace(CONFIG.system, start_batches=0)
  )
  task = SoundStreamTask(config)
  state = nn.unbox(jax.jit(task.init_state)(jax.random.key(0)))
  assert task.start_from_data(state, iter(()), jax.random.key(1)) is state
