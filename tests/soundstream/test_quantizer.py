"""The residual quantizer against slow NumPy, and its codebooks' upkeep."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from soundstorm_jax.soundstream import quantizer


def _random(*shape, seed=0):
  values = np.random.default_rng(seed).normal(size=shape)
  return jnp.asarray(values, jnp.float32)


def _books(vectors):
  counts = jnp.ones(vectors.shape[:2])
  return quantizer.Codebooks(vectors, counts, vectors, jnp.ones((), bool))


def test_quantize_equals_a_loop_over_levels():
  latents, books = _random(2, 5, 4), _random(3, 8, 4, seed=1)
  used = jnp.asarray([3, 1])
  result = quantizer.quantize(latents, books, levels_used=used)
  for b in range(2):
    for t in range(5):
      residual, total = np.asarray(latents[b, t]), np.zeros(4)
      for q in range(3):
        distances = ((residual - np.asarray(books[q])) ** 2).sum(-1)
        code = int(distances.argmin())
        assert int(result.codes[b, t, q]) == code
        np.testing.assert_allclose(result.residuals[q, b, t], residual, 1e-5)
        residual = residual - np.asarray(books[q, code])
        if q < int(used[b]):
          total = total + np.asarray(books[q, code])
      np.testing.assert_allclose(result.values[b, t], total, atol=1e-5)


def test_dequantize_sums_the_levels_given():
  latents, books = _random(2, 5, 4), _random(3, 8, 4, seed=1)
  result = quantizer.quantize(latents, books)
  values = quantizer.dequantize(result.codes, books)
  np.testing.assert_allclose(values, result.values, atol=1e-5)
  two = quantizer.quantize(latents, books, levels_used=jnp.asarray([2, 2]))
  values = quantizer.dequantize(result.codes[..., :2], books)
  np.testing.assert_allclose(values, two.values, atol=1e-5)
  with pytest.raises(ValueError, match="4 levels"):
    quantizer.dequantize(jnp.zeros((1, 1, 4), jnp.int32), books)


def test_initialize_finds_separate_clusters():
  centres = 10 * _random(4, 3, seed=2)
  latents = jnp.repeat(centres, 50, axis=0) + 0.01 * _random(200, 3)
  books = quantizer.empty_codebooks(2, 16, dim=3)
  books = quantizer.initialize(latents[None], books, key=jax.random.key(0))
  result = quantizer.quantize(latents[None], books.vectors)
  assert bool(books.initialized)
  assert float(jnp.abs(result.values - latents).max()) < 0.1
  # The second level is fitted to what the first left, so it helps.
  first = jnp.square(result.residuals[1]).mean()
  second = jnp.square(latents - result.values).mean()
  assert float(second) < float(first)


def test_more_codes_than_vectors_can_be_initialized():
  books = quantizer.empty_codebooks(2, 32, dim=3)
  books = quantizer.initialize(_random(1, 5, 3), books, key=jax.random.key(0))
  assert bool(jnp.isfinite(books.vectors).all())


def test_chunks_change_nothing(monkeypatch):
  latents, key = _random(1, 50, 3), jax.random.key(0)
  books = quantizer.empty_codebooks(2, 4, dim=3)
  whole = quantizer.initialize(latents, books, key=key)
  monkeypatch.setattr(quantizer, "_CHUNK", 16)
  parts = quantizer.initialize(latents, books, key=key)
  np.testing.assert_allclose(parts.vectors, whole.vectors, atol=1e-6)
  np.testing.assert_array_equal(parts.counts, whole.counts)


def test_unused_codes_are_revived():
  # Most vectors are alike, so that most codes start at one place.
  latents = jnp.concatenate([jnp.zeros((200, 3)), 10 * _random(12, 3)])
  books = quantizer.empty_codebooks(1, 13, dim=3)

  def used(**settings):
    after = quantizer.initialize(
      latents[None], books, key=jax.random.key(0), iterations=200, **settings
    )
    return int((after.counts > 0).sum())

  assert used() < 9
  assert used(revive=True) > 10


def test_update_moves_each_code_to_the_mean_of_its_vectors():
  latents, vectors = _random(3, 6, 4), _random(2, 5, 4, seed=1)
  used = jnp.asarray([2, 1, 2])
  quantized = quantizer.quantize(latents, vectors, levels_used=used)
  after = quantizer.update(
    _books(vectors),
    quantized,
    levels_used=used,
    key=jax.random.key(0),
    decay=0.9,
    dead_below=0.0,
  )
  for q in range(2):
    rows = [b for b in range(3) if int(used[b]) > q]
    scale = 3 / len(rows)
    for code in range(5):
      count, total = 0.0, np.zeros(4)
      for b in rows:
        for t in range(6):
          if int(quantized.codes[b, t, q]) == code:
            count += 1
            total += np.asarray(quantized.residuals[q, b, t])
      count = 0.9 + 0.1 * scale * count
      total = 0.9 * np.asarray(vectors[q, code]) + 0.1 * scale * total
      np.testing.assert_allclose(after.counts[q, code], count, rtol=1e-5)
      np.testing.assert_allclose(
        after.vectors[q, code], total / count, rtol=1e-4, atol=1e-6
      )


def test_a_level_nobody_uses_stays_as_it_is():
  latents, vectors = _random(2, 6, 4), _random(3, 5, 4, seed=1)
  used = jnp.asarray([1, 2])
  quantized = quantizer.quantize(latents, vectors, levels_used=used)
  after = quantizer.update(
    _books(vectors),
    quantized,
    levels_used=used,
    key=jax.random.key(0),
    decay=0.9,
    dead_below=0.0,
  )
  np.testing.assert_allclose(after.vectors[2], vectors[2], rtol=1e-6)
  assert float(jnp.abs(after.vectors[1] - vectors[1]).max()) > 1e-3


def test_dead_codes_become_vectors_of_examples_that_use_the_level():
  latents = _random(2, 6, 4)
  # Codes far from everything but one are never chosen.
  vectors = jnp.full((2, 5, 4), 100.0).at[:, 0].set(0.0)
  used = jnp.asarray([2, 1])
  quantized = quantizer.quantize(latents, vectors, levels_used=used)
  after = quantizer.update(
    _books(vectors),
    quantized,
    levels_used=used,
    key=jax.random.key(0),
    decay=0.5,
    dead_below=0.9,
  )
  for q, rows in ((0, 2), (1, 1)):
    pool = np.asarray(quantized.residuals[q, :rows]).reshape(-1, 4)
    for code in range(1, 5):
      vector = np.asarray(after.vectors[q, code])
      assert np.abs(pool - vector).sum(-1).min() < 1e-5
  assert float(after.counts.min()) >= 0.9


def test_commitment_gradient_points_to_the_codes():
  latents, books = _random(2, 5, 4), 0.1 * _random(3, 8, 4, seed=1)
  used = jnp.asarray([3, 2])
  quantized = quantizer.quantize(latents, books, levels_used=used)

  def loss(x):
    return quantizer.commitment_loss(x, quantized, levels_used=used)

  slow = [
    np.square(
      np.asarray(quantized.residuals[q, b] - quantized.chosen[q, b])
    ).mean()
    for b in range(2)
    for q in range(int(used[b]))
  ]
  np.testing.assert_allclose(loss(latents), np.mean(slow), rtol=1e-4)
  step = latents - 0.5 * jax.grad(loss)(latents)
  assert float(loss(step)) < float(loss(latents))
