"""Decoding of all levels: counts, what is untouched, rows, the reference."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from soundstorm_jax.soundstorm.config import SamplerConfig
from soundstorm_jax.soundstorm.decode import decode, guided_logits_fn
from tests.soundstorm import reference

B, T, Q, V = 5, 12, 3, 6
CONFIG = SamplerConfig(iterations=(5, 3, 1))
# Full length without a prompt, a prompt and padding, nothing to decode, one
# frame alone, a dummy row.
LENGTH = jnp.asarray([12, 9, 7, 1, 0])
PROMPT_LENGTH = jnp.asarray([0, 4, 7, 0, 0])
TRUTH = jax.random.randint(jax.random.key(7), (B, T, Q), 0, V)
KEYS = jax.random.split(jax.random.key(11), B)
FRAME = jnp.arange(T)
WITHIN = np.asarray(LENGTH[:, None] > FRAME)
PROMPTED = np.asarray(PROMPT_LENGTH[:, None] > FRAME)

# A small network by hand: every frame's logits hang on its own tokens, its
# neighbours' and the level, so that each pass sees what the last one settled.
_rng = np.random.default_rng(5)
TABLE = _rng.normal(size=(Q, Q, V + 1, V)).astype(np.float32)
NEIGHBOUR = _rng.normal(size=(Q, Q, V + 1, V)).astype(np.float32)


def network(tokens, level):
  before = jnp.pad(tokens, ((0, 0), (1, 0), (0, 0)))[:, :-1]
  table, neighbour = jnp.asarray(TABLE)[level], jnp.asarray(NEIGHBOUR)[level]
  return sum(
    table[q][tokens[:, :, q]] + neighbour[q][before[:, :, q]] for q in range(Q)
  )


def network_row(tokens, level):
  before = np.pad(tokens, ((1, 0), (0, 0)))[:-1]
  return sum(
    TABLE[level, q][tokens[:, q]] + NEIGHBOUR[level, q][before[:, q]]
    for q in range(Q)
  )


def oracle(tokens, level):
  truth = jax.lax.dynamic_index_in_dim(TRUTH, level, 2, keepdims=False)
  return 50.0 * jax.nn.one_hot(truth[: tokens.shape[0]], V)


@functools.partial(jax.jit, static_argnames=("logits_fn", "config"))
def run(logits_fn, prompt, prompt_length, length, keys, config=CONFIG):
  return decode(
    logits_fn,
    prompt=prompt,
    prompt_length=prompt_length,
    length=length,
    keys=keys,
    codes=V,
    config=config,
  )


def test_oracle_gives_the_truth_and_padding_is_zero():
  prompt = jnp.where(PROMPTED[:, :, None], TRUTH, -3)
  tokens = run(oracle, prompt, PROMPT_LENGTH, LENGTH, KEYS)
  np.testing.assert_array_equal(tokens, np.where(WITHIN[..., None], TRUTH, 0))


def test_prompt_survives_a_network_that_disagrees():
  def contrary(tokens, level):
    return -oracle(tokens, level)

  tokens = np.asarray(run(contrary, TRUTH, PROMPT_LENGTH, LENGTH, KEYS))
  decoded = WITHIN & ~PROMPTED
  assert (tokens[PROMPTED] == np.asarray(TRUTH)[PROMPTED]).all()
  assert (tokens[decoded] != np.asarray(TRUTH)[decoded]).all()
  assert (tokens[decoded] < V).all()


@pytest.mark.parametrize(
  "config",
  [
    CONFIG,
    SamplerConfig(
      iterations=(4, 1, 2), temperature=0.6, choice_temperature=0.0
    ),
  ],
)
def test_whole_decode_equals_the_reference(config):
  tokens = run(network, TRUTH, PROMPT_LENGTH, LENGTH, KEYS, config=config)
  for row in range(B):
    expected = reference.decode_row(
      network_row,
      prompt=np.asarray(TRUTH[row]),
      prompt_length=int(PROMPT_LENGTH[row]),
      length=int(LENGTH[row]),
      key=KEYS[row],
      codes=V,
      iterations=config.iterations,
      temperature=config.temperature,
      choice_temperature=config.choice_temperature,
    )
    np.testing.assert_array_equal(tokens[row], expected)


def test_every_pass_sees_the_scheduled_masks():
  """What the network is shown, pass by pass, recorded from inside the loop."""
  seen = []

  def recording(tokens, level):
    jax.debug.callback(
      lambda t, q: seen.append((np.asarray(t), int(q))),
      tokens,
      level,
      ordered=True,
    )
    return network(tokens, level)

  final = np.asarray(run(recording, TRUTH, PROMPT_LENGTH, LENGTH, KEYS))
  jax.effects_barrier()
  assert [q for _, q in seen] == [0, 0, 0, 0, 0, 1, 1, 1, 2]
  # floor(N0 * cos(pi / 2 * s / S)), by hand, for N0 = 12, 5, 0, 1, 0.
  expected = [
    [12, 5, 0, 1, 0],
    [11, 4, 0, 1, 0],
    [9, 3, 0, 1, 0],
    [7, 2, 0, 1, 0],
    [3, 1, 0, 1, 0],
    [12, 5, 0, 1, 0],
    [10, 4, 0, 1, 0],
    [6, 2, 0, 1, 0],
    [12, 5, 0, 1, 0],
  ]
  settled = {}
  for (tokens, level), counts in zip(seen, expected, strict=True):
    masked = tokens == V
    assert masked[:, :, level].sum(-1).tolist() == counts
    # The prompt is whole, padding is zero, finer levels are all masked.
    assert (tokens[PROMPTED] == np.asarray(TRUTH)[PROMPTED]).all()
    assert (tokens[~WITHIN] == 0).all()
    assert masked[:, :, level + 1 :][WITHIN & ~PROMPTED].all()
    # What is settled never changes.
    assert not masked[:, :, :level].any()
    known = ~masked & WITHIN[..., None]
    assert (tokens[known] == final[known]).all()
    before = settled.get(level)
    assert before is None or (known[:, :, level] >= before).all()
    settled[level] = known[:, :, level]


def test_rows_depend_on_neither_batch_order_nor_padding():
  tokens = run(network, TRUTH, PROMPT_LENGTH, LENGTH, KEYS)
  order = jnp.asarray([3, 1, 4, 0, 2])
  shuffled = run(
    network, TRUTH[order], PROMPT_LENGTH[order], LENGTH[order], KEYS[order]
  )
  np.testing.assert_array_equal(shuffled, tokens[order])
  # One row alone, in a shorter bucket.
  alone = run(
    network, TRUTH[1:2, :10], PROMPT_LENGTH[1:2], LENGTH[1:2], KEYS[1:2]
  )
  np.testing.assert_array_equal(alone[0], tokens[1, :10])
  other = run(network, TRUTH, PROMPT_LENGTH, LENGTH, KEYS[::-1])
  assert not np.array_equal(other[0], tokens[0])


def test_guidance_moves_away_from_the_unconditional():
  given = jnp.asarray([[[2.0, 0.0, -1.0]]])
  dropped = jnp.asarray([[[1.0, 1.0, -1.0]]])
  none = jnp.zeros((1, 1, 1), jnp.int32)

  def logits(scale):
    fn = guided_logits_fn(
      lambda *_: given + 7.0, lambda *_: dropped - 5.0, scale=scale
    )
    return jax.nn.log_softmax(fn(none, jnp.asarray(0)))

  np.testing.assert_allclose(logits(0.0), jax.nn.log_softmax(given), atol=1e-6)
  np.testing.assert_allclose(
    logits(2.0),
    jax.nn.log_softmax(given + 2.0 * (given - dropped)),
    atol=1e-5,
  )


def test_refuses_levels_without_iterations_and_other_generators():
  arguments = dict(
    prompt=TRUTH,
    prompt_length=PROMPT_LENGTH,
    length=LENGTH,
    codes=V,
  )
  with pytest.raises(ValueError, match="each of the 3 levels, got"):
    decode(
      network, keys=KEYS, config=SamplerConfig(iterations=(2, 1)), **arguments
    )
  keys = jax.random.split(jax.random.key(0, impl="rbg"), B)
  with pytest.raises(ValueError, match="threefry2x32 keys, got rbg"):
    decode(network, keys=keys, config=CONFIG, **arguments)


def test_no_level_can_be_without_a_pass():
  with pytest.raises(ValueError, match="iterations must be at least 1, got 0"):
    SamplerConfig(iterations=(1, 0, 0))
