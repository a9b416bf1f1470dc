"""The semantic encoder: its features, and what they do not depend on."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from soundstorm_jax.layers import features
from soundstorm_jax.layers.config import ConformerConfig
from soundstorm_jax.layers.stacking import stack_layers, unstack_layers
from soundstorm_jax.parallel import rules
from soundstorm_jax.semantic import network
from soundstorm_jax.semantic.config import SemanticEncoderConfig

CONFIG = SemanticEncoderConfig(
  mels=12,
  conformer=ConformerConfig(dim=8, layers=3, heads=2, ff_dim=12, conv_kernel=3),
)


def normal(*shape, seed=0):
  return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def test_four_frames_are_stacked_in_their_order():
  mel = normal(2, 8, 3)
  stacked = np.asarray(network.stack_frames(jnp.asarray(mel)))
  assert stacked.shape == (2, 2, 12)
  np.testing.assert_array_equal(stacked[1, 1, 3:6], mel[1, 5])


@pytest.mark.parametrize("samples", [1, 640, 641, 5000])
def test_frames_are_those_of_audio_in_silence(samples):
  audio = 0.1 * normal(1, samples + 700)
  magnitudes = network.spectrum(
    jnp.asarray(audio), jnp.array([samples]), config=CONFIG
  )
  tokens = -(-(samples + 700) // 640)
  assert magnitudes.shape == (1, 4 * tokens, 241)
  padded = np.zeros(160 + 4 * tokens * 160 + 320)
  padded[160 : 160 + samples] = audio[0, :samples]
  hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(480) / 480)
  for p in range(0, 4 * tokens, 3):
    frame = np.fft.rfft(padded[p * 160 : p * 160 + 480] * hann) / 240
    np.testing.assert_allclose(magnitudes[0, p], np.abs(frame), atol=2e-6)
  mel = network.log_mel(magnitudes, config=CONFIG)
  filters = features.mel_filterbank(window=480, mels=12, sample_rate=16000)
  np.testing.assert_allclose(
    mel, np.log(np.asarray(magnitudes) @ filters + 1e-5), rtol=1e-4
  )


def test_a_token_is_a_whole_number_of_frames():
  with pytest.raises(ValueError, match="multiple of 4"):
    network.hop_of(dataclasses.replace(CONFIG, sample_rate=16010))


def test_normalised_frames_forget_level_and_colour():
  mel = normal(2, 10, 4)
  valid = np.arange(10) < np.array([[10], [6]])
  changed = 3.0 * mel + np.array([1.0, -5.0, 2.0, 0.0], np.float32)
  one, other = (
    np.asarray(network.normalise(jnp.asarray(x), jnp.asarray(valid)))
    for x in (mel, changed)
  )
  np.testing.assert_allclose(one, other, atol=1e-4)
  np.testing.assert_allclose(one[1, :6].mean(0), 0, atol=1e-5)
  assert one[1, :6].std() == pytest.approx(1, abs=1e-4)
  assert not one[1, 6:].any()


@pytest.fixture(scope="module")
def params():
  model = network.SemanticEncoder(CONFIG, codes=5, phones=4)
  return rules.unbox(
    model.init(jax.random.key(0), jnp.zeros((1, 1, 48)), None, method="logits")[
      "params"
    ]
  )


def test_heads_have_their_widths(params):
  model = network.SemanticEncoder(CONFIG, codes=5, phones=4)
  logits = model.apply(
    {"params": params}, jnp.zeros((2, 6, 48)), None, method="logits"
  )
  assert [x.shape for x in logits] == [(2, 6, 5), (2, 6, 4), (2, 6, 5)]


def test_features_of_a_layer_are_those_of_fewer_layers(params):
  frames = jnp.asarray(normal(1, 7, 48))
  blocks = params["conformer"]["layers"]
  for layers in (1, 2, 3):
    config = dataclasses.replace(
      CONFIG, conformer=dataclasses.replace(CONFIG.conformer, layers=layers)
    )
    part = network.up_to_layer(params, layers)
    assert set(part) == {"stem", "conformer"}
    found = network.SemanticEncoder(config).apply(
      {"params": part}, frames, None
    )
    # Later layers that add nothing leave a layer's output as it is.
    silent = jax.tree_util.tree_map_with_path(
      lambda path, x, n=layers: (
        x.at[n:].set(0) if "project" in str(path) or "out" in str(path) else x
      ),
      blocks,
    )
    whole = params | {"conformer": {"layers": silent}}
    expected = network.SemanticEncoder(CONFIG).apply(
      {"params": whole}, frames, None
    )
    np.testing.assert_allclose(found, expected, atol=1e-3)
    unrolled = params | {"conformer": unstack_layers(params["conformer"])}
    kept = network.up_to_layer(unrolled, layers)["conformer"]
    assert set(kept) == {f"layer_{i}" for i in range(layers)}
    jax.tree.map(
      np.testing.assert_array_equal,
      stack_layers(kept),
      part["conformer"],
    )


def test_padding_changes_no_feature(params):
  model = network.SemanticEncoder(CONFIG)
  frames = normal(1, 9, 48)
  alone = model.apply(
    {"params": network.up_to_layer(params, 3)}, jnp.asarray(frames), None
  )
  padded = np.concatenate([frames, 100 * normal(1, 5, 48, seed=1)], axis=1)
  together = model.apply(
    {"params": network.up_to_layer(params, 3)},
    jnp.asarray(np.concatenate([padded, normal(1, 14, 48, seed=2)])),
    jnp.asarray(np.arange(14) < np.array([[9], [14]])),
  )
  np.testing.assert_allclose(together[:1, :9], alone, atol=1e-5)
