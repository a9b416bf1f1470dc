"""Training that goes on from a file of weights, not from random numbers."""

import os
from typing import Any

import jax
import jax.numpy as jnp

from soundstorm_jax.weights import load_weights


def read(params: Any, path: str | os.PathLike[str], *, kind: str) -> Any:
  """The parameters of a file of weights, in place of `params`.

  Raises:
    FileNotFoundError: there is no such file.
    ValueError: it holds another kind, or a model of other sizes.
  """
  return replace(params, load_weights(path, kind=kind).params, path=path)


def replace(params: Any, others: Any, *, path: str | os.PathLike[str]) -> Any:
  """`others` in the dtypes of `params`, which have the same names and shapes.

  Args:
    params: of the model as it is configured.
    others: of the file.
    path: of the file, for messages.

  Raises:
    ValueError: names or shapes differ.
  """

  def shapes(tree: Any) -> dict[str, tuple[int, ...]]:
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(p): tuple(x.shape) for p, x in leaves}

  wants, has = shapes(params), shapes(others)
  for name in sorted(wants | has):
    if wants.get(name) != has.get(name):
      raise ValueError(
        f"start: {path} has {name} of shape {has.get(name)}, the config's "
        f"model {wants.get(name)}"
      )
  return jax.tree.map(
    lambda old, new: jnp.asarray(new, old.dtype), params, others
  )
