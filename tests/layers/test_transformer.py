"""The Transformer: what is seen, and layers stacked or apart."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from soundstorm_jax.layers.attention import MASKED_SCORE, LayerCache
from soundstorm_jax.layers.config import TransformerConfig
from soundstorm_jax.layers.stacking import stack_layers
from soundstorm_jax.layers.transformer import Transformer
from tests.audiolm.tiny_audiolm import random_params

CONFIG = TransformerConfig(
  dim=16, layers=3, heads=2, ff_dim=24, scan_layers=False
)


@pytest.fixture(scope="module")
def inputs():
  x = jax.random.normal(jax.random.key(0), (2, 7, 16))
  hidden = jnp.arange(7)[:, None] < jnp.arange(7)
  bias = jnp.broadcast_to(jnp.where(hidden, MASKED_SCORE, 0.0), (2, 7, 7))
  return x, bias, jnp.ones((2, 7), bool)


@functools.partial(jax.jit, static_argnames="config")
def run(config, params, inputs):
  x, bias, valid = inputs
  return Transformer(config).apply(
    {"params": params}, x, bias=bias, valid=valid
  )


@pytest.fixture(scope="module")
def params(inputs):
  x, bias, valid = inputs
  return random_params(Transformer(CONFIG).init, x, bias=bias, valid=valid)


@pytest.mark.parametrize("remat", [False, True])
def test_scanned_equals_unrolled(params, inputs, remat):
  expected, caches = run(CONFIG, params, inputs)
  assert len(caches) == CONFIG.layers
  config = dataclasses.replace(CONFIG, scan_layers=True, remat=remat)
  stacked = stack_layers({k: v for k, v in params.items() if k != "norm"})
  found, none = run(config, stacked | {"norm": params["norm"]}, inputs)
  assert none == ()
  np.testing.assert_allclose(found, expected, atol=1e-5)


def test_nothing_later_is_seen(params, inputs):
  x, bias, valid = inputs
  before, _ = run(CONFIG, params, inputs)
  after, _ = run(CONFIG, params, (x.at[:, 4:].set(9.0), bias, valid))
  np.testing.assert_allclose(after[:, :4], before[:, :4], atol=1e-6)
  assert np.abs(after[:, 4:] - before[:, 4:]).max() > 0.1


def test_dropout_is_for_training(inputs):
  config = dataclasses.replace(CONFIG, dropout=0.5, layers=2, scan_layers=True)
  x, bias, valid = inputs
  network = Transformer(config)
  params = random_params(network.init, x, bias=bias, valid=valid)

  @jax.jit
  def apply(seed):
    return network.apply(
      {"params": params},
      x,
      bias=bias,
      valid=valid,
      deterministic=False,
      rngs={"dropout": jax.random.key(seed)},
    )[0]

  assert np.abs(apply(0) - apply(1)).max() > 0.1


def test_caches_that_do_not_fit_are_refused(inputs):
  x, bias, _ = inputs
  cache = LayerCache(jnp.zeros((4, 7, 8)), jnp.zeros((4, 7, 8)))
  for config in (CONFIG, dataclasses.replace(CONFIG, scan_layers=True)):
    with pytest.raises(ValueError, match="unrolled layers and 3 caches"):
      Transformer(config).init(
        jax.random.key(0),
        x[:, 0].T,
        bias=bias[0],
        caches=(cache,),
        slot=jnp.asarray(0),
        write=jnp.ones(2, bool),
      )


@pytest.mark.parametrize(
  ("values", "message"),
  [
    ({"dim": 10, "heads": 4}, "dim=10, heads=4"),
    ({"position_buckets": 7}, "must be even, got 7"),
    ({"max_distance": 16}, "max_distance must be at least 32, got 16"),
    ({"layers": 0}, "layers must be at least 1, got 0"),
  ],
)
def test_bad_sizes_are_refused(values, message):
  with pytest.raises(ValueError, match=message):
    TransformerConfig(**values)
