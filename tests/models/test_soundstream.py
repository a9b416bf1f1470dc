"""SoundStream's convolutions, causality, sizes, and the codec around it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from soundstorm_jax.config import SoundStreamConfig
from soundstorm_jax.models.codec import Codec
from soundstorm_jax.models.discriminators import Discriminators
from soundstorm_jax.models.soundstream import (
  Downsample,
  SoundStream,
  Upsample,
)

TINY = SoundStreamConfig(
  sample_rate=400,
  strides=(2, 4),
  encoder_channels=2,
  decoder_channels=3,
  dim=5,
  levels=3,
  codes=7,
)


def _random(*shape, seed=0):
  values = np.random.default_rng(seed).normal(size=shape)
  return jnp.asarray(values, jnp.float32)


@pytest.fixture(scope="module")
def tiny_params():
  model = SoundStream(TINY)
  variables = jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, 64)))
  return nn.unbox(variables["params"])


@pytest.fixture(scope="module")
def codec(tiny_params):
  books = 0.3 * _random(3, 7, 5)
  return Codec(TINY, params=tiny_params, codebooks=books)


def _size(config):
  model = SoundStream(config)
  audio = jax.ShapeDtypeStruct((1, 10 * config.hop), jnp.float32)
  shapes = jax.eval_shape(model.init, jax.random.key(0), audio)
  return sum(leaf.size for leaf in jax.tree.leaves(nn.unbox(shapes)))


@pytest.mark.parametrize(
  ("encoder", "decoder", "millions"),
  [(16, 16, 2.4), (32, 32, 8.4), (8, 32, 4.8)],
)
def test_sizes_are_the_papers(encoder, decoder, millions):
  # SoundStream, table I, whose channels are ours.
  config = SoundStreamConfig(
    encoder_channels=encoder, decoder_channels=decoder, dim=64
  )
  assert _size(config) / 1e6 == pytest.approx(millions, rel=0.15)


def test_both_rates_give_fifty_frames_a_second():
  assert SoundStreamConfig().frame_rate == 50
  wide = SoundStreamConfig(sample_rate=24_000, strides=(2, 5, 6, 8))
  assert (wide.hop, wide.frame_rate) == (480, 50)
  with pytest.raises(ValueError, match="16000 and 480"):
    SoundStreamConfig(strides=(2, 5, 6, 8))


def test_downsample_is_a_causal_strided_convolution():
  x = _random(2, 12, 3)
  layer = Downsample(5, 4)
  params = nn.unbox(layer.init(jax.random.key(0), x))
  kernel = np.asarray(params["params"]["kernel"])
  padded = np.pad(np.asarray(x), ((0, 0), (4, 0), (0, 0)))
  slow = np.stack(
    [
      np.einsum("bkc,kce->be", padded[:, s : s + 8], kernel)
      for s in range(0, 12, 4)
    ],
    axis=1,
  )
  np.testing.assert_allclose(layer.apply(params, x), slow, atol=1e-5)


def test_upsample_is_a_causal_transposed_convolution():
  x = _random(2, 3, 4)
  layer = Upsample(5, 4)
  params = nn.unbox(layer.init(jax.random.key(0), x))
  kernel = np.asarray(params["params"]["kernel"])
  slow = np.zeros((2, 16, 5), np.float32)
  for t in range(3):
    slow[:, 4 * t : 4 * t + 8] += np.einsum(
      "bc,kce->bke", np.asarray(x[:, t]), kernel
    )
  np.testing.assert_allclose(layer.apply(params, x), slow[:, :12], atol=1e-5)


def test_encoder_and_decoder_are_causal(tiny_params):
  model = SoundStream(TINY)
  audio = _random(1, 128)
  changed = audio.at[:, 64:].add(1.0)
  encode = jax.jit(
    lambda x: model.apply({"params": tiny_params}, x, method="encode")
  )
  before, after = encode(audio), encode(changed)
  np.testing.assert_array_equal(before[:, :8], after[:, :8])
  assert float(jnp.abs(before[:, 8:] - after[:, 8:]).max()) > 1e-4

  latents = _random(1, 16, 5)
  decode = jax.jit(
    lambda z: model.apply({"params": tiny_params}, z, method="decode")
  )
  before, after = decode(latents), decode(latents.at[:, 8:].add(1.0))
  np.testing.assert_array_equal(before[:, :64], after[:, :64])
  assert float(jnp.abs(before[:, 64:] - after[:, 64:]).max()) > 1e-4


@pytest.mark.parametrize("samples", [1, 8, 61])
def test_lengths_are_exact(codec, samples):
  tokens = codec.encode(_random(2, samples))
  frames = -(-samples // TINY.hop)
  assert tokens.shape == (2, frames, 3)
  assert tokens.dtype == jnp.int32
  for levels in (1, 2, 3):
    audio = codec.decode(tokens[..., :levels])
    assert audio.shape == (2, frames * TINY.hop)


def test_the_decoder_hears_every_level(codec):
  tokens = codec.encode(_random(1, 64))
  one, two = codec.decode(tokens[..., :1]), codec.decode(tokens[..., :2])
  assert float(jnp.abs(one - two).max()) > 1e-4


def test_codec_refuses_what_does_not_fit(codec, tiny_params):
  with pytest.raises(ValueError, match="4 levels"):
    codec.decode(jnp.zeros((1, 2, 4), jnp.int32))
  with pytest.raises(ValueError, match="0 levels"):
    codec.decode(jnp.zeros((1, 2, 0), jnp.int32))
  with pytest.raises(ValueError, match=r"\(2, 7, 5\)"):
    Codec(TINY, params=tiny_params, codebooks=jnp.zeros((2, 7, 5)))
  with pytest.raises(ValueError, match="60 samples"):
    SoundStream(TINY).apply(
      {"params": tiny_params}, jnp.zeros((1, 60)), method="encode"
    )


def test_there_is_a_discriminator_per_scale_and_one_on_the_stft():
  judges = Discriminators(2)
  audio = jax.ShapeDtypeStruct((2, 4096), jnp.float32)
  views, _ = jax.eval_shape(judges.init_with_output, jax.random.key(0), audio)
  lengths = [view.logits.shape for view in views]
  # Strides of 4^4 after scales of 1, 1/2 and 1/4; the STFT has 13 frames.
  assert lengths[:3] == [(2, 16), (2, 8), (2, 4)]
  assert lengths[3][0] == 2
  assert all(len(view.features) >= 6 for view in views)
