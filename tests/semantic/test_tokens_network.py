"""Tokens within the network: the nearest centres, and what passes backward."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from soundstorm_jax.layers.config import ConformerConfig
from soundstorm_jax.parallel import rules
from soundstorm_jax.semantic import tokens_network
from soundstorm_jax.semantic.config import SemanticEncoderConfig
from soundstorm_jax.semantic.network import SemanticEncoder

CONFIG = SemanticEncoderConfig(
  mels=12,
  conformer=ConformerConfig(dim=8, layers=2, heads=2, ff_dim=12, conv_kernel=3),
)


def normal(*shape, seed=0):
  return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def make(config=CONFIG):
  model = tokens_network.SemanticTokens(
    config, decoder_layers=1, centres=6, phones=5
  )
  frames = jnp.asarray(normal(2, 7, 48))
  params = model.init(jax.random.key(0), frames, None)["params"]
  return model, rules.unbox(params), frames


def test_tokens_are_the_nearest_centres_of_the_features():
  model, params, frames = make()
  heard = model.apply({"params": params}, frames, None)
  assert heard.frames.shape == (2, 7, 48)
  assert heard.phones.shape == (2, 7, 5)
  assert heard.ctc.shape == (2, 7, 6)
  features, centres = np.asarray(heard.features), np.asarray(params["centres"])
  for place in np.ndindex(2, 7):
    distances = np.square(centres - features[place]).sum(-1)
    assert heard.tokens[place] == distances.argmin()
    np.testing.assert_array_equal(
      heard.chosen[place], centres[distances.argmin()]
    )


def test_the_decoder_sees_nothing_but_the_tokens():
  model, params, frames = make()
  heard = model.apply({"params": params}, frames, None)
  # A change too small to reach another centre is gone in what comes out.
  other = model.apply({"params": params}, frames * 1.0001, None)
  assert np.any(other.features != heard.features)
  np.testing.assert_array_equal(other.tokens, heard.tokens)
  np.testing.assert_allclose(other.frames, heard.frames, atol=1e-5)


def test_the_gradient_reaches_encoder_and_centres():
  model, params, frames = make()

  def loss(params):
    return jnp.sum(model.apply({"params": params}, frames, None).phones ** 2)

  grads = jax.grad(loss)(params)
  for part in ("encoder", "centres", "decoder"):
    assert any(np.any(leaf) for leaf in jax.tree.leaves(grads[part])), part


@pytest.mark.parametrize("scan", [False, True])
def test_rescaled_encoders_normalise_their_features(scan):
  config = dataclasses.replace(
    CONFIG, conformer=dataclasses.replace(CONFIG.conformer, scan_layers=scan)
  )
  _, params, frames = make(config)
  encoder = params["encoder"]
  apply = SemanticEncoder(config).apply
  features = apply({"params": encoder}, frames, None)
  mean, std = normal(8, seed=1), 1 + np.square(normal(8, seed=2))
  rescaled = tokens_network.rescale_output(
    encoder, jnp.asarray(mean), jnp.asarray(std)
  )
  np.testing.assert_allclose(
    apply({"params": rescaled}, frames, None),
    (np.asarray(features) - mean) / std,
    atol=1e-5,
  )
