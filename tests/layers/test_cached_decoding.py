"""The loop of single tokens against a slow one, with a network by hand."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from soundstorm_jax.layers.cached_decoding import (
  decode_window,
  sample,
  segment_ends,
)

B, N, V = 5, 11, 7
# Nothing known; some; all but one; all of a short one; a dummy row.
START = jnp.asarray([0, 4, 10, 6, 0])
STOP = jnp.asarray([11, 9, 11, 6, 0])
OFFSET = jnp.asarray([0, 22, 33, 0, 0])
KEYS = jax.random.split(jax.random.key(3, impl="threefry2x32"), B)
KNOWN = np.random.default_rng(0).integers(0, V, (B, N))
_rng = np.random.default_rng(1)
TABLE = _rng.normal(size=(N, V + 1, V)).astype(np.float32)
WEIGHT = _rng.normal(size=(N, V)).astype(np.float32)


def network(cache, *, previous, index, write):
  """Logits hang on the token before, and on the sum of those before that.

  The cache holds the tokens themselves; `seen` counts the calls.
  """
  tokens, seen = cache
  at = jnp.maximum(index - 1, 0)
  tokens = jnp.where(
    (jnp.arange(tokens.shape[1]) == at) & (write & (index > 0))[:, None],
    previous[:, None],
    tokens,
  )
  before = jnp.arange(tokens.shape[1]) < index
  total = jnp.where(before, tokens, 0).sum(1)
  last = jnp.where(index > 0, previous, V)
  logits = jnp.asarray(TABLE)[index, last]
  logits += jnp.sin(total[:, None] * jnp.asarray(WEIGHT)[index])
  return logits, (tokens, seen + 1)


def reference(row, temperature):
  """Row by row, token by token."""
  start, stop = int(START[row]), int(STOP[row])
  tokens = [int(c) for c in KNOWN[row, :start]]
  for index in range(start, stop):
    last = tokens[-1] if tokens else V
    logits = TABLE[index, last] + np.sin(sum(tokens) * WEIGHT[index])
    key = jax.random.fold_in(KEYS[row], int(OFFSET[row]) + index)
    noise = np.asarray(jax.random.gumbel(key, (V,)))
    tokens.append(int(np.argmax(logits / np.float32(temperature) + noise)))
  return np.array(tokens + [0] * (N - len(tokens)))


def grow(cache, end):
  tokens, seen = cache
  return jnp.pad(tokens, ((0, 0), (0, max(0, end - tokens.shape[1])))), seen


@functools.partial(jax.jit, static_argnames=("ends", "temperature"))
def run(known, start, stop, keys, offset, *, ends=(), temperature=1.0):
  frame = jnp.arange(N)
  tokens = jnp.where(frame < start[:, None], known, -99)
  # Room for the known ones; a loop's part makes more.
  tokens = tokens[:, : max(ends[0], 10) if ends else N]
  return decode_window(
    network,
    (tokens, jnp.zeros((), jnp.int32)),
    known=known,
    start=start,
    stop=stop,
    keys=keys,
    offset=offset,
    temperature=temperature,
    ends=ends,
    grow=grow,
  )


@pytest.mark.parametrize("ends", [(), (3, 6, 11)])
@pytest.mark.parametrize("temperature", [1.0, 0.4])
def test_equals_the_reference(ends, temperature):
  found = run(
    KNOWN, START, STOP, KEYS, OFFSET, ends=ends, temperature=temperature
  )
  for row in range(B):
    np.testing.assert_array_equal(found[row], reference(row, temperature))


def test_rows_depend_on_neither_order_nor_number():
  tokens = run(KNOWN, START, STOP, KEYS, OFFSET)
  order = jnp.asarray([3, 1, 4, 0, 2])
  given = (KNOWN, START, STOP, KEYS, OFFSET)
  shuffled = run(*(jnp.asarray(x)[order] for x in given))
  np.testing.assert_array_equal(shuffled, tokens[order])
  alone = run(*(jnp.asarray(x)[1:2] for x in given))
  np.testing.assert_array_equal(alone[0], tokens[1])


def test_no_step_is_made_that_no_row_needs():
  calls = []

  def counting(cache, *, previous, index, write):
    jax.debug.callback(lambda i: calls.append(int(i)), index, ordered=True)
    return network(cache, previous=previous, index=index, write=write)

  @jax.jit
  def some(start, stop):
    return decode_window(
      counting,
      (jnp.zeros((2, N), jnp.int32), jnp.zeros((), jnp.int32)),
      known=jnp.asarray(KNOWN[:2]),
      start=start,
      stop=stop,
      keys=KEYS[:2],
      offset=OFFSET[:2],
      temperature=1.0,
      ends=(4, 11),
    )

  # The second row has nothing to decode, wherever it stands.
  some(jnp.asarray([3, 0]), jnp.asarray([7, 0])).block_until_ready()
  jax.effects_barrier()
  assert calls == [3, 4, 5, 6]
  some(jnp.asarray([5, 2]), jnp.asarray([5, 2])).block_until_ready()
  jax.effects_barrier()
  assert calls == [3, 4, 5, 6]


def test_samples_follow_the_distribution():
  rows = 20_000
  keys = jax.random.split(jax.random.key(0, impl="threefry2x32"), rows)
  logits = jnp.broadcast_to(jnp.asarray([0.0, 1.0, 3.0]), (rows, 3))
  codes = sample(logits, keys=keys, place=jnp.full(rows, 7), temperature=0.8)
  found = np.bincount(codes, minlength=3) / rows
  np.testing.assert_allclose(found, jax.nn.softmax(logits[0] / 0.8), atol=0.015)


def test_parts_are_as_equal_as_they_can_be():
  assert segment_ends(2000, 4) == (500, 1000, 1500, 2000)
  assert segment_ends(10, 4) == (3, 5, 8, 10)
  assert segment_ends(2, 4) == (1, 2)


def test_refuses_parts_that_do_not_cover_and_other_generators():
  with pytest.raises(ValueError, match=r"ascend to 11, got \(4, 9\)"):
    run(KNOWN, START, STOP, KEYS, OFFSET, ends=(4, 9))
  keys = jax.random.split(jax.random.key(0, impl="rbg"), B)
  with pytest.raises(ValueError, match="threefry2x32 keys, got rbg"):
    run(KNOWN, START, STOP, keys, OFFSET)
