"""Attention: heads in a loop, and one query beside a cache."""

import math

import jax
import jax.numpy as jnp
import numpy as np

from soundstorm_jax.layers.attention import (
  MASKED_SCORE,
  LayerCache,
  attention,
  cached_attention,
)


def test_heads_in_a_loop_need_the_scores_of_one():
  shape = jax.ShapeDtypeStruct((1, 64, 8, 4), jnp.float32)

  def scratch(loop_heads):
    attend = jax.jit(
      lambda q, k, v: attention(q, k, v, valid=None, loop_heads=loop_heads)
    )
    compiled = attend.lower(shape, shape, shape).compile()
    return compiled.memory_analysis().temp_size_in_bytes

  all_scores = 8 * 64 * 64 * 4
  assert scratch(False) >= all_scores > 2 * scratch(True)


def test_cached_attention_equals_a_softmax():
  rng = np.random.default_rng(0)
  query = rng.normal(size=(4, 6)).astype(np.float32)
  key, value = rng.normal(size=(2, 4, 9, 6)).astype(np.float32)
  bias = rng.normal(size=(4, 9)).astype(np.float32)
  bias[:, 7:] = MASKED_SCORE
  found = cached_attention(
    jnp.asarray(query),
    LayerCache(jnp.asarray(key), jnp.asarray(value)),
    bias=jnp.asarray(bias),
  )
  for row in range(4):
    scores = key[row, :7] @ query[row] / math.sqrt(6) + bias[row, :7]
    weights = np.exp(scores) / np.exp(scores).sum()
    np.testing.assert_allclose(found[row], weights @ value[row, :7], atol=1e-6)
