"""The losses on phones, against slow NumPy."""

import itertools

import jax.numpy as jnp
import numpy as np
import pytest

from soundstorm_jax.data.phones import PHONES, SILENCE, UNKNOWN
from soundstorm_jax.semantic import phone_losses
from soundstorm_jax.training.metrics import means


def normal(*shape, seed=0):
  return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def test_metrics_are_per_known_frame_and_per_phone():
  phones = np.full((2, 12), UNKNOWN)
  phones[0] = [1] * 4 + [1, 1, 2, 2] + [2] * 4
  logits = normal(2, 3, len(PHONES))
  ctc_logits = normal(2, 3, 1 + len(PHONES), seed=1)
  valid = jnp.asarray(np.arange(12) < np.array([[12], [8]]))
  found = means(
    phone_losses.phone_metrics(
      jnp.asarray(logits), jnp.asarray(ctc_logits), jnp.asarray(phones), valid
    )
  )
  shares = np.zeros((3, len(PHONES)))
  shares[0, 1], shares[1, [1, 2]], shares[2, 2] = 1, 0.5, 1
  log = logits[0] - np.log(np.exp(logits[0]).sum(-1, keepdims=True))
  assert found["phone_loss"] == pytest.approx(-(shares * log).sum() / 3)
  right = shares[np.arange(3), logits[0].argmax(-1)].sum() / 3
  assert found["phone_top1"] == pytest.approx(right)
  sequence = phone_losses.phone_sequence(
    jnp.asarray(phones), valid=valid, places=3
  )
  loss = phone_losses.ctc(
    jnp.asarray(ctc_logits), sequence, valid=valid[:, ::4]
  )
  # The second row's phones are not known: two phones count.
  assert found["ctc_loss"] == pytest.approx(float(loss[0]) / 2)


def test_phone_targets_are_shares_of_four_steps():
  phones = jnp.array([[3, 3, 3, 1, UNKNOWN, 2, 2, UNKNOWN]])
  shares, known = phone_losses.phone_targets(phones, names=4)
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
  sequence = phone_losses.phone_sequence(
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
  sequence = phone_losses.Sequence(
    labels=jnp.array([[1, 2], [2, 0], [1, 1]]),
    padding=jnp.array([[0.0, 0.0], [0.0, 1.0], [0.0, 0.0]]),
    usable=jnp.array([True, True, False]),
  )
  loss = phone_losses.ctc(
    jnp.asarray(logits), sequence, valid=jnp.asarray(valid)
  )
  np.testing.assert_allclose(
    loss,
    [slow_ctc(logits[0], [1, 2]), slow_ctc(logits[1, :3], [2]), 0],
    rtol=1e-4,
  )


@pytest.mark.parametrize(("frames", "fits"), [(2, False), (3, True)])
def test_ctc_leaves_out_what_does_not_fit(frames, fits):
  sequence = phone_losses.Sequence(
    labels=jnp.array([[1, 1]]),
    padding=jnp.zeros((1, 2)),
    usable=jnp.array([True]),
  )
  valid = jnp.arange(4)[None] < frames
  loss = phone_losses.ctc(jnp.asarray(normal(1, 4, 3)), sequence, valid=valid)
  assert bool(loss[0] > 0) == fits
  assert np.isfinite(loss).all()
