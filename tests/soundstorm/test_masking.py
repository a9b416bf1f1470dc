"""The training mask against a slow reference, and its statistics."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from soundstorm_jax.soundstorm import masking
from soundstorm_jax.soundstorm.config import MaskingConfig

B, T, Q, V = 6, 11, 4, 5
LENGTH = np.array([11, 8, 1, 0, 5, 11])
VALID = np.arange(T) < LENGTH[:, None]


@functools.partial(jax.jit, static_argnames=("levels", "config"))
def draw(key, valid, levels=Q, config=MaskingConfig()):
  return masking.draw_mask(key, valid, levels=levels, config=config)


def reference(key, row, length, config):
  """Section 2.2 for one example, frame by frame, from the same draws."""
  keys = jax.random.split(jax.random.fold_in(key, row), 7)
  delimiter = int(jax.random.randint(keys[0], (), 0, max(length, 1)))
  if float(jax.random.uniform(keys[1])) < config.no_prompt_prob:
    delimiter = 0
  odds = [config.coarse_bias * math.log(Q - q) for q in range(Q)]
  level = int(jax.random.categorical(keys[2], jnp.asarray(odds)))
  p = math.cos(float(jax.random.uniform(keys[3], maxval=math.pi / 2)))
  if float(jax.random.uniform(keys[6])) < config.full_mask_prob:
    p = 1.0
  draws = np.asarray(jax.random.uniform(keys[4], (T,)))
  masked = np.zeros((T, Q), bool)
  for t in range(delimiter, length):
    masked[t, level] = draws[t] < p
    masked[t, level + 1 :] = True
  if length and not masked[:, level].any():
    t = min(range(delimiter, length), key=lambda i: draws[i])
    masked[t, level] = True
  return masked, level, delimiter


@pytest.mark.parametrize(
  "config",
  [
    MaskingConfig(),
    MaskingConfig(no_prompt_prob=0.5),
    MaskingConfig(coarse_bias=2.0, full_mask_prob=0.5),
  ],
)
def test_masks_equal_the_reference(config):
  for seed in range(8):
    key = jax.random.key(seed)
    mask = draw(key, VALID, config=config)
    for row in range(B):
      masked, level, delimiter = reference(key, row, int(LENGTH[row]), config)
      np.testing.assert_array_equal(mask.masked[row], masked)
      np.testing.assert_array_equal(mask.target[row], masked[:, level])
      assert mask.level[row] == level
      assert mask.delimiter[row] == delimiter


@pytest.fixture(scope="module")
def many():
  """4000 examples, a tenth of them of each length from 1 to 10."""
  length = np.arange(4000) % 10 + 1
  valid = jnp.arange(T) < jnp.asarray(length)[:, None]
  return length, jax.tree.map(np.asarray, draw(jax.random.key(0), valid))


def test_every_example_has_targets_within_its_frames(many):
  length, mask = many
  frame = np.arange(T)
  may = (frame >= mask.delimiter[:, None]) & (frame < length[:, None])
  assert (mask.delimiter < length).all()
  assert mask.target.any(-1).all()
  assert not mask.target[~may].any()
  for row in range(len(length)):
    level = mask.level[row]
    assert not mask.masked[row, :, :level].any()
    np.testing.assert_array_equal(mask.masked[row, :, level], mask.target[row])
    assert (mask.masked[row, :, level + 1 :] == may[row, :, None]).all()


def test_draws_have_the_papers_distribution(many):
  length, mask = many
  np.testing.assert_allclose(
    np.bincount(mask.level, minlength=Q) / len(length), 1 / Q, atol=0.03
  )
  ten = mask.delimiter[length == 10]
  np.testing.assert_allclose(
    np.bincount(ten, minlength=10) / len(ten), 0.1, atol=0.06
  )
  # Rows differ from one another: not one draw for the whole batch.
  assert len({row.tobytes() for row in mask.masked[:50]}) > 20


def test_mean_share_masked_is_two_over_pi():
  valid = jnp.ones((2000, 64), bool)
  mask = draw(
    jax.random.key(1), valid, config=MaskingConfig(no_prompt_prob=1.0)
  )
  share = np.asarray(mask.target).mean(-1)
  assert abs(share.mean() - 2 / math.pi) < 0.02
  # cos(u) is below 1/2 for a third of u: p differs between examples.
  assert abs((share < 0.5).mean() - 1 / 3) < 0.05


def test_whole_levels_are_masked_at_their_rate():
  valid = jnp.ones((2000, 64), bool)
  often = MaskingConfig(no_prompt_prob=1.0, full_mask_prob=0.4)
  whole = np.asarray(draw(jax.random.key(1), valid, config=often).target).all(1)
  never = MaskingConfig(no_prompt_prob=1.0)
  by_chance = np.asarray(draw(jax.random.key(1), valid, config=never).target)
  # The cosine comes near to 1 now and then.
  chance = by_chance.all(1).mean()
  assert abs(whole.mean() - (0.4 + 0.6 * chance)) < 0.04


def test_rows_depend_on_neither_batch_nor_padding():
  key = jax.random.key(3)
  mask = draw(key, VALID)
  longer = draw(key, np.pad(VALID[:3], ((0, 0), (0, 4))))
  masked, level = np.asarray(longer.masked), np.asarray(longer.level)
  np.testing.assert_array_equal(masked[:, :T], np.asarray(mask.masked)[:3])
  assert not masked[:, T:].any()
  np.testing.assert_array_equal(level, np.asarray(mask.level)[:3])


def test_conditioning_is_dropped_at_its_rate():
  valid = jnp.ones((2000, 3), bool)
  often = draw(
    jax.random.key(2), valid, config=MaskingConfig(semantic_dropout=0.3)
  )
  assert not draw(jax.random.key(2), VALID).drop_semantic.any()
  assert abs(float(often.drop_semantic.mean()) - 0.3) < 0.04
  semantic = jnp.ones((2000, 3), jnp.int32)
  seen = masking.drop_semantic(semantic, often, null_id=9)
  np.testing.assert_array_equal(
    seen, np.where(often.drop_semantic[:, None], 9, semantic)
  )


def test_masked_tokens_are_replaced_and_the_others_kept():
  tokens = jax.random.randint(jax.random.key(0), (B, T, Q), 0, V)
  mask = draw(jax.random.key(4), VALID)
  seen = np.asarray(masking.mask_tokens(tokens, mask, mask_id=V))
  assert (seen[mask.masked] == V).all()
  assert (seen[~mask.masked] == np.asarray(tokens)[~mask.masked]).all()
  at_level = masking.tokens_at_level(tokens, mask.level)
  for row in range(B):
    np.testing.assert_array_equal(
      at_level[row], tokens[row, :, int(mask.level[row])]
    )


def test_coarse_bias_favours_coarse_levels():
  valid = jnp.ones((6000, 4), bool)
  mask = draw(jax.random.key(0), valid, config=MaskingConfig(coarse_bias=1.0))
  expected = np.arange(Q, 0, -1) / np.arange(Q, 0, -1).sum()
  np.testing.assert_allclose(
    np.bincount(mask.level, minlength=Q) / len(valid), expected, atol=0.03
  )


def test_refuses_no_levels():
  with pytest.raises(ValueError, match="levels must be at least 1, got 0"):
    masking.draw_mask(
      jax.random.key(0), jnp.asarray(VALID), levels=0, config=MaskingConfig()
    )
