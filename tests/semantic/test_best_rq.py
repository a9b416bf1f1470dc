"""BEST-RQ's targets, against slow NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from soundstorm_jax.semantic import best_rq

B, T, F, V, C = 2, 5, 6, 7, 3


def normal(*shape, seed=0):
  return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def test_quantize_takes_the_nearest_unit_vector():
  quantizer = best_rq.random_quantizer(
    jax.random.key(3), channels=F, codes=V, code_dim=C
  )
  frames = normal(B, T, F)
  projection, codebook = (np.asarray(x, np.float64) for x in quantizer)
  for b, t in np.ndindex(B, T):
    projected = frames[b, t] @ projection
    projected /= np.linalg.norm(projected)
    distances = [
      np.linalg.norm(code / np.linalg.norm(code) - projected)
      for code in codebook
    ]
    codes = best_rq.quantize(jnp.asarray(frames), quantizer)
    assert codes[b, t] == np.argmin(distances)


def test_a_quantizer_follows_from_its_key():
  def make(seed):
    return best_rq.random_quantizer(
      jax.random.key(seed), channels=F, codes=V, code_dim=C
    )

  np.testing.assert_array_equal(make(1).codebook, make(1).codebook)
  assert not np.array_equal(make(1).codebook, make(2).codebook)
  limit = np.sqrt(6 / (F + C))  # Xavier's.
  assert np.abs(make(1).projection).max() <= limit
  np.testing.assert_allclose(np.linalg.norm(make(1).codebook, axis=1), 1, 1e-6)


def test_spans_reach_from_their_starts():
  starts = np.random.default_rng(0).random((3, 12)) < 0.2
  expected = np.zeros_like(starts)
  for b, t in zip(*np.nonzero(starts), strict=True):
    expected[b, t : t + 4] = True
  np.testing.assert_array_equal(
    best_rq.spread(jnp.asarray(starts), 4), expected
  )


def test_span_mask_covers_its_share_of_valid_frames_alone():
  valid = np.ones((64, 200), bool)
  valid[:, 150:] = False
  mask = best_rq.span_mask(
    jax.random.key(0), jnp.asarray(valid), probability=0.03, length=10
  )
  assert not np.asarray(mask)[~valid].any()
  # Far from the beginning a frame stays if none of ten starts a span.
  assert np.asarray(mask)[:, 10:150].mean() == pytest.approx(
    1 - 0.97**10, abs=0.03
  )


def test_hidden_frames_hold_noise_and_the_others_stay():
  frames = normal(4, 50, 20)
  mask = np.random.default_rng(1).random((4, 50)) < 0.5
  hidden = best_rq.hide(
    jax.random.key(0), jnp.asarray(frames), jnp.asarray(mask)
  )
  np.testing.assert_array_equal(np.asarray(hidden)[~mask], frames[~mask])
  assert np.asarray(hidden)[mask].std() == pytest.approx(0.1, abs=0.01)
