"""Positions of a run: host slices, and the permutation of an epoch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from soundstorm_jax.data import positions


def shuffled(where, size, *, key):
  """The entries at several positions."""
  draw = jax.jit(jax.vmap(lambda k: positions.shuffled(k, size, key=key)))
  return np.asarray(draw(jnp.asarray(where, jnp.uint32)))


def entries(where, size, *, seed=0):
  return shuffled(where, size, key=jax.random.key(seed))


def slow_mix(value):
  for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35), (16, 1)):
    value = (value ^ (value >> shift)) * factor % 2**32
  return value


def slow_shuffle(size, epoch, *, seed):
  """The permutation as a list whose places are swapped, round after round."""
  rounds = 4 * max(1, (size - 1).bit_length())
  key = jax.random.fold_in(jax.random.key(seed), epoch)
  holds = list(range(size))  # holds[place]: the offset that has come there
  for swap, toss in np.asarray(jax.random.bits(key, (rounds, 2))).tolist():
    for place in range(size):
      partner = (swap - place) % size
      if place < partner and slow_mix(partner ^ toss) >= 2**31:
        holds[place], holds[partner] = holds[partner], holds[place]
  result = [0] * size
  for place, offset in enumerate(holds):
    result[offset] = place
  return result


@pytest.mark.parametrize("size", [1, 2, 3, 10, 37])
def test_equals_a_list_whose_places_are_swapped(size):
  for epoch in (0, 1, 5):
    where = epoch * size + np.arange(size)
    expected = slow_shuffle(size, epoch, seed=3)
    assert entries(where, size, seed=3).tolist() == expected


@pytest.mark.parametrize("size", [1, 2, 5, 64, 1000, 4099])
def test_an_epoch_has_each_entry_once(size):
  found = entries(np.arange(3 * size), size).reshape(3, size)
  for epoch in found:
    np.testing.assert_array_equal(np.sort(epoch), np.arange(size))
  if size > 50:
    # No epoch and no seed is another's; a random one agrees in about 1 place.
    assert np.sum(found[0] == found[1]) < 10
    assert np.sum(found[0] == entries(np.arange(size), size, seed=1)) < 10


def test_every_entry_comes_everywhere():
  epochs = 6000
  found = entries(np.arange(epochs * 6), 6).reshape(epochs, 6)
  counts = np.stack([np.bincount(found[:, k], minlength=6) for k in range(6)])
  # 1000 expected of each; five standard deviations.
  assert np.abs(counts - epochs / 6).max() < 5 * np.sqrt(epochs * 5 / 36)
  follows = np.mean(found[:, 1:] == found[:, :-1] + 1)
  assert follows == pytest.approx(1 / 6, abs=0.02)


def test_late_positions_do_not_overflow():
  size = 1000
  start = 2**32 // size * size - size
  np.testing.assert_array_equal(
    np.sort(entries(start + np.arange(size), size)), np.arange(size)
  )


def test_hosts_get_their_part_of_every_batch():
  slices = [
    positions.host_slice(6, process_index=i, process_count=2) for i in (0, 1)
  ]
  assert [list(s.positions(2)) for s in slices] == [[12, 13, 14], [15, 16, 17]]
  with pytest.raises(ValueError, match="multiple of the 4 hosts, got 6"):
    positions.host_slice(6, process_index=0, process_count=4)
  with pytest.raises(ValueError, match=r"in \[0, 2\), got 2"):
    positions.host_slice(6, process_index=2, process_count=2)
