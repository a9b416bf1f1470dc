"""BEST-RQ's targets and the losses on phones, against slow NumPy."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from soundstorm_jax.data.phones import SILENCE, UNKNOWN
from soundstorm_jax.training import best_rq

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


def test_phone_targets_are_shares_of_four_steps():
  phones = jnp.array([[3, 3, 3, 1, UNKNOWN, 2, 2, UNKNOWN]])
  shares, known = best_rq.phone_targets(phones, names=4)
  np.testing.assert_allclose(
    shares, [[[0, 0.25, 0, 0.75], [0, 0, 0.5, 0]]], atol=1e-7
  )
  np.testing.assert_allclose(known, [[1.0, 0.5]])


def slow_sequence(phones, valid):
  found, before = [], None
  for phone, there in zip(phones, valid, strict=True):
    if there and phone not in (before, SILENCE, UNKNOWN):
      found.append(int(phone) + 1)
    before = phone
  return found


def test_phone_sequence_lists_them_in_order():
  rng = np.random.default_rng(2)
  phones = np.repeat(rng.integers(0, 5, (6, 12)), 3, axis=1)
  phones[1, 4] = UNKNOWN
  valid = np.arange(36) < np.array([36, 36, 20, 10, 1, 36])[:, None]
  phones[4] = SILENCE
  sequence = best_rq.phone_sequence(
    jnp.asarray(phones), valid=jnp.asarray(valid), places=9
  )
  for row in range(6):
    expected = slow_sequence(phones[row], valid[row])
    length = int((1 - sequence.padding[row]).sum())
    assert length == min(len(expected), 9)
    assert sequence.labels[row, :length].tolist() == expected[:length]
    assert not sequence.labels[row, length:].any()
    usable = row not in (1, 4) and len(expected) <= 9
    assert bool(sequence.usable[row]) == usable


def slow_ctc(logits, labels):
  """The sum over all paths that collapse to the labels."""
  frames, classes = logits.shape
  shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
  total = 0.0
  for path in itertools.product(range(classes), repeat=frames):
    collapsed = [k for k, _ in itertools.groupby(path) if k]
    if collapsed == labels:
      total += np.prod(shares[np.arange(frames), path])
  return -np.log(total)


def test_ctc_sums_over_all_paths():
  logits = normal(3, 4, 3)
  valid = np.arange(4) < np.array([[4], [3], [4]])
  sequence = best_rq.Sequence(
    labels=jnp.array([[1, 2], [2, 0], [1, 1]]),
    padding=jnp.array([[0.0, 0.0], [0.0, 1.0], [0.0, 0.0]]),
    usable=jnp.array([True, True, False]),
  )
  loss = best_rq.ctc(jnp.asarray(logits), sequence, valid=jnp.asarray(valid))
  np.testing.assert_allclose(
    loss,
    [slow_ctc(logits[0], [1, 2]), slow_ctc(logits[1, :3], [2]), 0],
    rtol=1e-4,
  )


@pytest.mark.parametrize(("frames", "fits"), [(2, False), (3, True)])
def test_ctc_leaves_out_what_does_not_fit(frames, fits):
  sequence = best_rq.Sequence(
    labels=jnp.array([[1, 1]]),
    padding=jnp.zeros((1, 2)),
    usable=jnp.array([True]),
  )
  valid = jnp.arange(4)[None] < frames
  loss = best_rq.ctc(jnp.asarray(normal(1, 4, 3)), sequence, valid=valid)
  assert bool(loss[0] > 0) == fits
  assert np.isfinite(loss).all()
