"""SoundStream's causality and sizes, and the codec around it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from soundstorm_jax.soundstream.codec import Codec
from soundstorm_jax.soundstream.config import SoundStreamConfig
from soundstorm_jax.soundstream.network import SoundStream

TINY = SoundStreamConfig(
  sample_rate=400,
  strides=(2, 4),
  encoder_channels=2,
  decoder_channels=3,
  dim=5,
  levels=3,
  codes=7,
)

# All that a light codec has, and 32 samples a frame.
LIGHT = SoundStreamConfig(
  sample_rate=1600,
  patch=4,
  strides=(4, 2),
  encoder_channels=4,
  decoder_channels=8,
  dim=8,
  levels=3,
  codes=7,
  separable=True,
  group_width=2,
  activation="leaky_relu",
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


@pytest.mark.parametrize("config", [TINY, LIGHT])
def test_encoder_and_decoder_are_causal(config):
  model, hop = SoundStream(config), config.hop
  audio = _random(1, 16 * hop)
  params = nn.unbox(jax.jit(model.init)(jax.random.key(0), audio))
  changed = audio.at[:, 8 * hop :].add(1.0)
  encode = jax.jit(lambda x: model.apply(params, x, method="encode"))
  before, after = encode(audio), encode(changed)
  np.testing.assert_array_equal(before[:, :8], after[:, :8])
  assert float(jnp.abs(before[:, 8:] - after[:, 8:]).max()) > 1e-4

  latents = _random(1, 16, config.dim)
  decode = jax.jit(lambda z: model.apply(params, z, method="decode"))
  before, after = decode(latents), decode(latents.at[:, 8:].add(1.0))
  np.testing.assert_array_equal(before[:, : 8 * hop], after[:, : 8 * hop])
  assert float(jnp.abs(before[:, 8 * hop :] - after[:, 8 * hop :]).max()) > 1e-4


def test_a_light_codec_hears_as_far_back_as_its_kernels():
  # In samples: patches of 4 see 16; then units of 1 + 2 * (1 + 3 + 9) steps,
  # a block of 2 * 4 steps, units, a block of 2 * 2 steps, and 3 frames.
  reach = 16 + 4 * (26 + 7 + 4 * (26 + 3)) + 32 * 2
  frames = 40
  audio = jnp.zeros((1, frames * LIGHT.hop))
  model = SoundStream(LIGHT)
  params = nn.unbox(jax.jit(model.init)(jax.random.key(0), audio))
  # Units begin as the identity, which sees no further than the present.
  params = jax.tree.map(
    lambda leaf: leaf + 0.3 * _random(*leaf.shape, seed=leaf.size), params
  )
  gradient = jax.grad(
    lambda x: jnp.sum(model.apply(params, x, method="encode")[:, -1])
  )(audio + 0.1)
  heard = np.flatnonzero(np.asarray(gradient[0]))
  assert audio.shape[1] - heard[0] == reach


def test_a_light_codec_has_the_sizes_of_lyras():
  config = SoundStreamConfig(
    patch=16,
    strides=(5, 2, 2),
    encoder_channels=64,
    decoder_channels=64,
    separable=True,
    group_width=64,
    activation="leaky_relu",
  )
  assert (config.hop, config.frame_rate) == (320, 50)
  assert _size(config) == 660_352 + 660_289


@pytest.mark.parametrize(
  ("settings", "message"),
  [
    ({"patch": 0}, "patch must be at least 1, got 0"),
    ({"patch": 3}, "hop, got 16000 and 960"),
    ({"activation": "relu"}, "elu, leaky_relu, got 'relu'"),
    ({"group_width": 3}, "encoder_channels must be a multiple of group_width"),
    ({"group_width": 4, "dim": 24}, "32 groups of encoder_channels"),
  ],
)
def test_configs_that_make_no_codec_are_refused(settings, message):
  with pytest.raises(ValueError, match=message):
    SoundStreamConfig(**settings)


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
