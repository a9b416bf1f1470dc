"""SoundStream's convolutions, causality, sizes, and the codec around it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from soundstorm_jax.config import SoundStreamConfig
from soundstorm_jax.models.codec import Codec
from soundstorm_jax.models.convolutions import (
  DepthwiseConv,
  Downsample,
  GroupedConv,
  Upsample,
)
from soundstorm_jax.models.discriminators import Discriminators
from soundstorm_jax.models.soundstream import SoundStream

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


@pytest.mark.parametrize("blocks", [2, 4])
@pytest.mark.parametrize("groups", [1, 3])
def test_downsample_is_a_causal_strided_convolution(blocks, groups):
  x = _random(2, 12, 6)
  layer = Downsample(9, 4, blocks=blocks, groups=groups)
  params = nn.unbox(layer.init(jax.random.key(0), x))
  slow = _slow_conv(
    x,
    params["params"]["kernel"],
    before=4 * (blocks - 1),
    groups=groups,
    stride=4,
  )
  np.testing.assert_allclose(layer.apply(params, x), slow, atol=1e-5)


@pytest.mark.parametrize("blocks", [2, 4])
@pytest.mark.parametrize("groups", [1, 3])
def test_upsample_is_a_causal_transposed_convolution(blocks, groups):
  x = _random(2, 3, 6)
  layer = Upsample(9, 4, blocks=blocks, groups=groups)
  params = nn.unbox(layer.init(jax.random.key(0), x))
  kernel = np.asarray(params["params"]["kernel"])
  inner, outer = 6 // groups, 9 // groups
  slow = np.zeros((2, 4 * (2 + blocks), 9), np.float32)
  for t in range(3):
    for g in range(groups):
      into = slice(g * outer, (g + 1) * outer)
      slow[:, 4 * t : 4 * (t + blocks), into] += np.einsum(
        "bc,kce->bke",
        np.asarray(x[:, t, g * inner : (g + 1) * inner]),
        kernel[..., into],
      )
  np.testing.assert_allclose(layer.apply(params, x), slow[:, :12], atol=1e-5)


@pytest.mark.parametrize(("kernel", "groups"), [(1, 1), (3, 1), (3, 2)])
def test_grouped_convolutions_are_causal_convolutions(kernel, groups):
  x = _random(2, 7, 6)
  layer = GroupedConv(8, kernel, groups=groups)
  params = nn.unbox(layer.init(jax.random.key(0), x))
  slow = _slow_conv(
    x, params["params"]["kernel"], before=kernel - 1, groups=groups
  )
  np.testing.assert_allclose(layer.apply(params, x), slow, atol=1e-5)


def test_depthwise_convolutions_keep_channels_apart():
  x = _random(2, 9, 5)
  layer = DepthwiseConv(3, dilation=2)
  params = nn.unbox(layer.init(jax.random.key(0), x))
  kernel = np.zeros((5, 1, 5), np.float32)
  kernel[::2] = params["params"]["kernel"]
  slow = _slow_conv(x, kernel, before=4, groups=5)
  np.testing.assert_allclose(layer.apply(params, x), slow, atol=1e-5)


def _slow_conv(x, kernel, *, before, groups, stride=1):
  """A convolution by its definition; each group of channels by itself."""
  kernel = np.asarray(kernel)
  width, inner, features = kernel.shape
  outer = features // groups
  padded = np.pad(np.asarray(x), ((0, 0), (before, 0), (0, 0)))
  out = []
  for start in range(0, x.shape[1], stride):
    seen = padded[:, start : start + width]
    out.append(
      np.concatenate(
        [
          np.einsum(
            "bkc,kce->be",
            seen[..., g * inner : (g + 1) * inner],
            kernel[..., g * outer : (g + 1) * outer],
          )
          for g in range(groups)
        ],
        axis=-1,
      )
    )
  return np.stack(out, axis=1)


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


def test_there_is_a_discriminator_per_scale_and_one_on_the_stft():
  judges = Discriminators(2)
  audio = jax.ShapeDtypeStruct((2, 4096), jnp.float32)
  views, _ = jax.eval_shape(judges.init_with_output, jax.random.key(0), audio)
  lengths = [view.logits.shape for view in views]
  # Strides of 4^4 after scales of 1, 1/2 and 1/4; the STFT has 13 frames.
  assert lengths[:3] == [(2, 16), (2, 8), (2, 4)]
  assert lengths[3][0] == 2
  assert all(len(view.features) >= 6 for view in views)
