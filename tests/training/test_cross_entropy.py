"""Scores of predicted tokens against a slow reference; their gradient."""

import jax
import jax.numpy as jnp
import numpy as np

from soundstorm_jax.training.cross_entropy import masked_cross_entropy

B, T, V = 6, 11, 5


def test_scores_equal_the_reference():
  codes = 30
  rng = np.random.default_rng(0)
  logits = rng.normal(size=(B, T, codes)).astype(np.float32) * 3
  tokens = rng.integers(0, codes, (B, T))
  target = rng.random((B, T)) < 0.5
  target[3] = False
  scores = masked_cross_entropy(
    jnp.asarray(logits), jnp.asarray(tokens), target=jnp.asarray(target)
  )
  for row in range(B):
    loss = top1 = top10 = 0.0
    for t in np.flatnonzero(target[row]):
      x = logits[row, t].astype(np.float64)
      loss += np.log(np.exp(x).sum()) - x[tokens[row, t]]
      best = np.argsort(-x)
      top1 += best[0] == tokens[row, t]
      top10 += tokens[row, t] in best[:10]
    np.testing.assert_allclose(scores.loss[row], loss, rtol=1e-5)
    assert scores.top1[row] == top1
    assert scores.top10[row] == top10
    assert scores.count[row] == target[row].sum()
  assert scores.count[3] == scores.loss[3] == 0


def test_loss_of_bfloat16_logits_is_float32():
  logits = jax.random.normal(jax.random.key(0), (1, 4, 300), jnp.bfloat16)
  tokens = jnp.zeros((1, 4), jnp.int32)
  target = jnp.ones((1, 4), bool)
  scores = masked_cross_entropy(logits, tokens, target=target)
  same = masked_cross_entropy(logits.astype(jnp.float32), tokens, target=target)
  np.testing.assert_array_equal(scores.loss, same.loss)


def test_gradient_without_targets_is_zero_and_finite():
  def loss(logits):
    scores = masked_cross_entropy(
      logits,
      jnp.zeros((B, T), jnp.int32),
      target=jnp.zeros((B, T), bool),
    )
    return scores.loss.sum() / jnp.maximum(scores.count.sum(), 1)

  value, gradient = jax.value_and_grad(loss)(jnp.ones((B, T, V)))
  assert value == 0
  assert not gradient.any()
