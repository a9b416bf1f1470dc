"""Parameters of layers one by one, and of layers that are scanned."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp


def stack_layers(params: Mapping[str, Any]) -> dict[str, Any]:
  """Parameters of unrolled layers -> those of a scanned one.

  Args:
    params: `{"layer_0": ..., "layer_1": ...}`, unboxed arrays.
  """
  layers = [params[f"layer_{i}"] for i in range(len(params))]
  return {"layers": jax.tree.map(lambda *leaves: jnp.stack(leaves), *layers)}


def unstack_layers(params: Mapping[str, Any]) -> dict[str, Any]:
  """The inverse of `stack_layers`."""
  stacked = params["layers"]
  count = jax.tree.leaves(stacked)[0].shape[0]
  return {
    f"layer_{i}": jax.tree.map(lambda leaf, i=i: leaf[i], stacked)
    for i in range(count)
  }
