"""The bootstrap against one written draw by draw."""

import numpy as np
import pytest

from soundstorm_jax.evaluation.intervals import draws, interval, ratios

TOTALS = np.array([3.0, 0, 5, 1, 2])
COUNTS = np.array([10.0, 20, 10, 0, 5])


def test_draws_are_of_as_many_utterances():
  times = draws(5, seed=1)
  assert times.shape == (2000, 5)
  assert (times.sum(1) == 5).all()
  # Each utterance once, on average, and without it 33 % of the time.
  np.testing.assert_allclose(times.mean(0), 1, atol=0.1)
  assert abs((times == 0).mean() - 0.8**5) < 0.02
  np.testing.assert_array_equal(times, draws(5, seed=1))
  assert (times != draws(5, seed=2)).any()


def test_ratios_are_of_the_utterances_drawn():
  times = draws(5)
  times[7] = [0, 0, 0, 5, 0]
  result = ratios(times, TOTALS, COUNTS)
  assert np.isnan(result[7])
  for draw in (0, 1, 2):
    drawn = [n for n in range(5) for _ in range(times[draw, n])]
    expected = sum(TOTALS[n] for n in drawn) / sum(COUNTS[n] for n in drawn)
    assert result[draw] == pytest.approx(expected)


def test_the_interval_of_a_mean_is_the_textbooks():
  values = np.random.default_rng(0).normal(3, 2, size=200)
  low, high = interval(
    ratios(draws(200), values, np.ones(200)), count=len(values)
  )
  error = values.std() / np.sqrt(200)
  assert low == pytest.approx(values.mean() - 1.96 * error, abs=0.15 * error)
  assert high == pytest.approx(values.mean() + 1.96 * error, abs=0.15 * error)


def test_pairs_are_subtracted_draw_by_draw():
  values = np.random.default_rng(0).normal(3, 2, size=50)
  times = draws(50)
  low, high = interval(
    ratios(times, values + 1, np.ones(50)) - ratios(times, values, np.ones(50)),
    count=50,
  )
  assert low == pytest.approx(1)
  assert high == pytest.approx(1)


def test_too_few_have_no_interval():
  assert interval(np.ones(10), count=2) is None
  assert interval(np.full(10, np.nan), count=9) is None
  assert interval(np.array([1, np.nan, 3]), count=9, confidence=1) == (1, 3)
