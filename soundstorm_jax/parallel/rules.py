"""The one table from logical axis names to mesh axes, and its use.

Models name the axes of parameters and activations by what they are; this table
alone says where those live. Letters: B batch, T frames, Q levels, V codes,
D model, H heads, K head width.
"""

import contextlib
from typing import Any

import jax
import numpy as np
from flax import linen as nn
from flax.core import meta
from jax.sharding import AbstractMesh, Mesh, NamedSharding, PartitionSpec

MESH_AXES = ("data", "fsdp", "tensor")
# A batch is spread over the parameter shards too: that is what FSDP is.
BATCH_AXES = ("data", "fsdp")

# Logical name -> mesh axis or axes. An axis is used once in an array, by the
# first dimension that asks for it.
RULES: tuple[tuple[str, str | tuple[str, ...] | None], ...] = (
  # Parameters.
  ("embed", "fsdp"),  # D
  ("mlp", "tensor"),  # the inner width of a feed-forward or conv module
  ("heads", "tensor"),  # H
  ("kv", None),  # K
  ("norm", None),  # scales and biases of width D
  ("vocab", None),  # V
  ("table", None),  # rows of an embedding: 1025, which no mesh divides
  ("levels", None),  # Q
  ("layers", None),  # the stacked axis of scanned layers
  ("conv_kernel", None),  # the taps of a convolution
  ("conv_in", None),
  ("conv_out", "fsdp"),
  # Activations.
  ("act_batch", BATCH_AXES),  # B
  ("act_time", None),  # T
  ("act_embed", None),  # D
  ("act_mlp", "tensor"),
  ("act_heads", "tensor"),  # H
  ("act_kv", None),  # K
  ("act_vocab", None),  # V
)


def partition_spec(
  names: tuple[str | None, ...],
  shape: tuple[int, ...],
  mesh: Mesh | AbstractMesh,
) -> PartitionSpec:
  """Where an array with these logical axes lives.

  A mesh axis that does not divide its dimension is left out, and so is one that
  an earlier dimension has taken.

  Raises:
    ValueError: a name is not in the table, or there is not one name per axis.
  """
  if len(names) != len(shape):
    raise ValueError(f"{len(names)} axis names {names} for a shape {shape}")
  table = dict(RULES)
  taken: set[str] = set()
  spec = []
  for name, size in zip(names, shape, strict=True):
    if name is not None and name not in table:
      raise ValueError(
        f"unknown logical axis {name!r}; the table has {', '.join(table)}"
      )
    axes = table.get(name) if name else None
    axes = (axes,) if isinstance(axes, str) else axes or ()
    axes = tuple(axis for axis in axes if axis not in taken)
    if not axes or size % int(np.prod([mesh.shape[axis] for axis in axes])):
      spec.append(None)
      continue
    taken.update(axes)
    spec.append(axes if len(axes) > 1 else axes[0])
  return PartitionSpec(*spec)


def no_rules() -> contextlib.AbstractContextManager[None]:
  """Within it, models leave the sharding of activations and parameters alone.

  For initialisation, where the output's sharding says everything: flax draws
  some kernels flattened, and would constrain them by the names of their axes.
  """
  return nn.logical_axis_rules(())


def _is_boxed(leaf: Any) -> bool:
  return isinstance(leaf, meta.AxisMetadata)


def unbox(tree: Any) -> Any:
  """Takes off the boxes that carry logical axis names."""
  return jax.tree.map(
    lambda leaf: leaf.value if _is_boxed(leaf) else leaf,
    tree,
    is_leaf=_is_boxed,
  )


def shardings(boxed: Any, mesh: Mesh) -> Any:
  """The shardings of an abstract tree whose leaves are boxed or plain.

  Args:
    boxed: shapes and dtypes, as `jax.eval_shape` gives them; a leaf in an
      `nn.LogicallyPartitioned` box follows the table, a plain one is copied
      to every device.
    mesh: where the arrays will live.

  Returns:
    A tree without boxes, of `NamedSharding`.
  """

  def one(leaf: Any) -> Any:
    if not _is_boxed(leaf):
      return NamedSharding(mesh, PartitionSpec())
    if not isinstance(leaf, nn.LogicallyPartitioned):
      raise ValueError(f"expected LogicallyPartitioned, got {type(leaf)}")
    if not jax.tree.leaves(leaf.value):
      # The place of an array that an optimizer for some parameters has not.
      return leaf.value
    spec = partition_spec(tuple(leaf.names), leaf.value.shape, mesh)
    return NamedSharding(mesh, spec)

  return jax.tree.map(one, boxed, is_leaf=_is_boxed)


def abstract(boxed: Any, mesh: Mesh) -> Any:
  """The same tree without boxes: shapes and dtypes with their shardings.

  It is the target of a restored checkpoint and the input of ahead-of-time
  compilation.
  """
  return jax.tree.map(
    lambda leaf, sharding: jax.ShapeDtypeStruct(
      leaf.shape, leaf.dtype, sharding=sharding
    ),
    unbox(boxed),
    shardings(boxed, mesh),
  )
