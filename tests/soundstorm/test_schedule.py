"""The plan of passes and the cosine schedule."""

import math

import jax.numpy as jnp
import numpy as np
import pytest

from soundstorm_jax.soundstorm.config import SamplerConfig
from soundstorm_jax.soundstorm.schedule import cosine_plan, masked_count


def test_papers_plan_has_27_passes():
  plan = cosine_plan(SamplerConfig().iterations)
  assert len(plan.index) == SamplerConfig().passes == 27
  np.testing.assert_array_equal(plan.index, np.arange(27))
  np.testing.assert_array_equal(plan.level, [0] * 16 + list(range(1, 12)))
  np.testing.assert_array_equal(plan.final, [False] * 15 + [True] * 12)


def test_ratios_of_each_level():
  plan = cosine_plan((3, 1, 2))
  np.testing.assert_allclose(
    plan.mask_ratio,
    [math.cos(math.pi / 6), 0.5, 0, 0, math.cos(math.pi / 4), 0],
    rtol=1e-6,
  )
  np.testing.assert_allclose(
    plan.noise_ratio, [2 / 3, 1 / 3, 0, 0, 1 / 2, 0], rtol=1e-6
  )


@pytest.mark.parametrize("iterations", [(), (0,), (4, 0, 1)])
def test_plan_refuses_levels_without_passes(iterations):
  with pytest.raises(ValueError, match="iterations must be at least 1"):
    cosine_plan(iterations)


@pytest.mark.parametrize("steps", [1, 2, 3, 16, 25])
def test_counts_equal_the_formula(steps):
  """Follows every initial count through a level, with integers in Python."""
  plan = cosine_plan((steps,))
  initial = np.arange(0, 1501)
  unknown = initial.copy()
  # The last step is greedy, and leaves none.
  for step in range(steps - 1):
    counts = np.asarray(
      masked_count(
        jnp.asarray(initial),
        jnp.asarray(unknown),
        mask_ratio=jnp.asarray(plan.mask_ratio[step]),
      )
    )
    for n0, before, after in zip(initial, unknown, counts, strict=True):
      if before == 0:
        expected = 0
      else:
        # The product in float32, as the package has it.
        share = np.float32(math.cos(math.pi / 2 * (step + 1) / steps))
        expected = max(1, min(math.floor(np.float32(n0) * share), before - 1))
      assert after == expected, (n0, step)
    unknown = counts


def test_every_pass_settles_something_until_one_is_left():
  plan = cosine_plan((8,))
  unknown = jnp.asarray([5])
  history = []
  for step in range(7):
    unknown = masked_count(
      jnp.asarray([5]),
      unknown,
      mask_ratio=jnp.asarray(plan.mask_ratio[step]),
    )
    history.append(int(unknown[0]))
  assert history == [4, 3, 2, 1, 1, 1, 1]
