"""Metrics as sums and counts, so that means over anything are exact."""

from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


class Mean(NamedTuple):
  """A mean in two parts; parts of several batches simply add up."""

  total: Float[Array, ""] | float | np.ndarray | np.floating
  count: Float[Array, ""] | float | np.ndarray | np.floating

  @classmethod
  def of(cls, value: jax.typing.ArrayLike) -> "Mean":
    """A scalar that counts once, such as a norm."""
    return cls(jnp.asarray(value, jnp.float32), jnp.ones((), jnp.float32))


Metrics = dict[str, Mean]


def add(first: Metrics, second: Metrics) -> Metrics:
  """Adds sums and counts; a name may be missing on one side."""
  result = dict(first)
  for name, mean in second.items():
    if name in result:
      mean = Mean(
        result[name].total + mean.total, result[name].count + mean.count
      )
    result[name] = mean
  return result


def means(metrics: Mapping[str, Mean]) -> dict[str, float]:
  """Divides; a metric that nothing counted towards is left out."""
  return {
    name: float(mean.total) / float(mean.count)
    for name, mean in metrics.items()
    if float(mean.count)
  }
