"""int8 products: nearly the same logits, by products of integers."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from soundstorm_jax.layers.config import ConformerConfig
from soundstorm_jax.layers.stacking import stack_layers
from soundstorm_jax.parallel.rules import unbox
from soundstorm_jax.soundstorm.config import SamplerConfig, SoundStormConfig
from soundstorm_jax.soundstorm.int8 import quantize_network, quantize_params
from soundstorm_jax.soundstorm.network import SoundStorm
from soundstorm_jax.soundstorm.sampler import make_sampler

MODEL = SoundStormConfig(
  levels=2,
  codes=16,
  semantic_vocab=9,
  conformer=ConformerConfig(
    dim=32, layers=2, heads=2, ff_dim=64, conv_kernel=3, scan_layers=False
  ),
)


@pytest.fixture(scope="module")
def params():
  row = jnp.zeros((1, 1), jnp.int32)
  tokens = jnp.zeros((1, 1, 2), jnp.int32)
  init = SoundStorm(MODEL).init(jax.random.key(0), tokens, row, None, level=0)
  return unbox(init["params"])


def inputs():
  rng = np.random.default_rng(0)
  return (
    jnp.asarray(rng.integers(0, 16, (2, 12, 2)), jnp.int32),
    jnp.asarray(rng.integers(0, 9, (2, 12)), jnp.int32),
    jnp.arange(12) < jnp.array([[12], [7]]),
  )


def test_matrices_are_integers_and_the_logits_nearly_the_same(params):
  quantized = quantize_params(params, MODEL)
  kinds = {str(leaf.dtype) for leaf in jax.tree.leaves(quantized["conformer"])}
  assert kinds == {"int8", "float32"}
  jax.tree.map(
    np.testing.assert_array_equal,
    quantized["head_kernel"],
    params["head_kernel"],
  )
  apply = jax.jit(quantize_network(SoundStorm(MODEL)).apply)
  tokens, semantic, valid = inputs()
  arguments = ({"params": quantized}, tokens, semantic, valid)
  found = apply(*arguments, level=jnp.int32(1))
  # A product of bytes, summed in more: not floats that were rounded before.
  assert "s32[" in apply.lower(*arguments, level=jnp.int32(1)).as_text("hlo")
  expected = SoundStorm(MODEL).apply(
    {"params": params}, tokens, semantic, valid, level=jnp.int32(1)
  )
  difference = np.asarray(found - expected)[np.asarray(valid)]
  assert 0 < np.square(difference).mean() < 1e-3 * np.asarray(expected).var()


def test_stacked_layers_are_taken_apart(params):
  stacked = params | {"conformer": stack_layers(params["conformer"])}
  jax.tree.map(
    np.testing.assert_array_equal,
    quantize_params(stacked, MODEL),
    quantize_params(params, MODEL),
  )
  scanned = dataclasses.replace(
    MODEL, conformer=dataclasses.replace(MODEL.conformer, scan_layers=True)
  )
  with pytest.raises(ValueError, match="not scanned"):
    quantize_params(params, scanned)


def test_the_sampler_takes_them(params):
  tokens, semantic, _ = inputs()
  sample = make_sampler(MODEL, SamplerConfig(iterations=(2, 1)), int8=True)
  found = sample(
    {"params": quantize_params(params, MODEL)},
    semantic,
    prompt=tokens,
    prompt_length=jnp.array([4, 0]),
    length=jnp.array([12, 7]),
    keys=jax.random.split(jax.random.key(0), 2),
  )
  np.testing.assert_array_equal(found[0, :4], tokens[0, :4])
  assert not np.asarray(found[1, 7:]).any()
  assert (np.asarray(found[1, :7]) < 16).all()
