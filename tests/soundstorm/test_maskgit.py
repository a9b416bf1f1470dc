"""One confidence sampling step against the slow reference."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from soundstorm_jax.soundstorm import maskgit
from soundstorm_jax.soundstorm.schedule import cosine_plan
from tests.soundstorm import reference

B, T, V = 4, 13, 7


@pytest.mark.parametrize(
  ("temperature", "choice_temperature"), [(1.0, 4.5), (0.7, 0.0), (1.5, 1.0)]
)
def test_steps_equal_the_reference(temperature, choice_temperature):
  """A level of 5 steps, the state carried along, 4 rows of unlike masks."""
  steps = 5
  plan = cosine_plan((steps,))
  rng = np.random.default_rng(0)
  tokens = rng.integers(0, V, (B, T))
  masked = np.ones((B, T), bool)
  masked[1, :5] = False
  masked[2, 9:] = False
  masked[3] = False
  initial = masked.sum(-1)
  keys = jax.random.split(jax.random.key(1), B)
  for step in range(steps - 1):
    logits = rng.normal(size=(B, T, V)).astype(np.float32)
    step_keys = jax.vmap(jax.random.fold_in, in_axes=(0, None))(keys, step)
    result = maskgit.sample_step(
      jnp.asarray(logits),
      jnp.asarray(tokens),
      masked=jnp.asarray(masked),
      initial=jnp.asarray(initial),
      noise=maskgit.draw_noise(step_keys, frames=T, codes=V),
      mask_ratio=jnp.asarray(plan.mask_ratio[step]),
      noise_ratio=jnp.asarray(plan.noise_ratio[step]),
      temperature=temperature,
      choice_temperature=choice_temperature,
    )
    for row in range(B):
      token_noise, choice_noise = reference.noise_of_row(keys[row], step, T, V)
      expected_tokens, expected_masked = reference.sample_step(
        logits[row],
        tokens[row],
        masked=masked[row],
        initial=initial[row],
        token_noise=token_noise,
        choice_noise=choice_noise,
        step=step,
        steps=steps,
        temperature=temperature,
        choice_temperature=choice_temperature,
      )
      np.testing.assert_array_equal(result.tokens[row], expected_tokens)
      np.testing.assert_array_equal(result.masked[row], expected_masked)
    assert not (np.asarray(result.masked) & ~masked).any()
    tokens, masked = np.asarray(result.tokens), np.asarray(result.masked)
  assert masked.sum(-1).tolist() == [4, 2, 2, 0]

  final = maskgit.greedy_step(
    jnp.asarray(logits), jnp.asarray(tokens), masked=jnp.asarray(masked)
  )
  assert not final.masked.any()
  np.testing.assert_array_equal(
    final.tokens, np.where(masked, logits.argmax(-1), tokens)
  )


def test_rank_marks_exactly_the_count_despite_ties():
  scores = jnp.asarray([[0.0] * 6, [1.0, 0.0, 0.0, 0.0, jnp.inf, -1.0]])
  marked = maskgit.lowest(scores, jnp.asarray([2, 3]))
  assert marked.tolist() == [
    [True, True, False, False, False, False],
    [False, True, True, False, False, True],
  ]


def test_bfloat16_ties_do_not_change_the_count():
  """Confidences that bfloat16 could not tell apart are ranked all the same."""
  scores = 1.0 + jnp.arange(64)[None] * 1e-4
  assert len(np.unique(scores.astype(jnp.bfloat16))) < 8
  marked = maskgit.lowest(scores, jnp.asarray([31]))
  np.testing.assert_array_equal(marked[0], np.arange(64) < 31)


def test_noise_depends_on_neither_batch_nor_padding():
  keys = jax.random.split(jax.random.key(0), 3)
  noise = maskgit.draw_noise(keys, frames=9, codes=V)
  alone = maskgit.draw_noise(keys[2:], frames=5, codes=V)
  np.testing.assert_array_equal(noise.token[2, :5], alone.token[0])
  np.testing.assert_array_equal(noise.choice[2, :5], alone.choice[0])
  assert not np.array_equal(noise.token[0], noise.token[1])


def test_samples_follow_the_distribution():
  """Frequencies of 20,000 samples at temperature 2 against the softmax."""
  frames = 20_000
  logits = jnp.broadcast_to(jnp.asarray([0.0, 1.0, 3.0]), (1, frames, 3))
  result = maskgit.sample_step(
    logits,
    jnp.zeros((1, frames), jnp.int32),
    masked=jnp.ones((1, frames), bool),
    initial=jnp.asarray([frames]),
    noise=maskgit.draw_noise(
      jax.random.split(jax.random.key(3), 1), frames=frames, codes=3
    ),
    mask_ratio=jnp.asarray(0.5),
    noise_ratio=jnp.asarray(0.5),
    temperature=2.0,
    choice_temperature=1.0,
  )
  frequencies = np.bincount(result.tokens[0], minlength=3) / frames
  expected = jax.nn.softmax(logits[0, 0] / 2)
  np.testing.assert_allclose(frequencies, expected, atol=0.015)
