"""How far a figure may be from the truth: the bootstrap.

A figure is a ratio of sums over utterances, such as errors over words, or the
sum of scores over their number. Utterances are drawn anew, with replacement,
many times; where the middle 95 % of the ratios lie is the interval (Efron 1979,
percentile method). The same draws serve all that is said of the utterances, so
figures may be subtracted draw by draw, pair by pair.

The speakers stay those that they are: an interval says how much other
utterances of them could change, not other speakers.

Axes: N utterances, R draws.
"""

import numpy as np
from jaxtyping import Float, Int

DRAWS = 2000
# Below that, an interval would show the few and not the spread.
_FEWEST = 3


def draws(count: int, *, seed: int = 0) -> Int[np.ndarray, "R N"]:
  """How often each of `count` utterances is in each draw of as many."""
  rng = np.random.default_rng(seed)
  return rng.multinomial(count, np.full(count, 1 / count), size=DRAWS)


def ratios(
  times: Int[np.ndarray, "R N"],
  totals: Float[np.ndarray, "N"],
  counts: Float[np.ndarray, "N"],
) -> Float[np.ndarray, "R"]:
  """The figure in each draw, NaN where nothing of a draw counts."""
  sums = times @ counts
  return np.divide(
    times @ totals, sums, out=np.full(len(times), np.nan), where=sums > 0
  )


def interval(
  values: Float[np.ndarray, "R"], *, count: int, confidence: float = 0.95
) -> tuple[float, float] | None:
  """Where the middle of the draws lies.

  Args:
    values: of the draws.
    count: utterances that they were drawn from.
    confidence: share of the draws within.

  Returns:
    Both ends; None if the utterances are too few, or no draw has a value.
  """
  values = values[np.isfinite(values)]
  if count < _FEWEST or not values.size:
    return None
  tail = (1 - confidence) / 2
  low, high = np.quantile(values, [tail, 1 - tail])
  return float(low), float(high)
