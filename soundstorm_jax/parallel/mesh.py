"""The device mesh, and batches spread over it.

The mesh has three axes. 'data' holds copies of the model, 'fsdp' shards the
parameters as well as the batch, 'tensor' shards the width of a layer. Axis
types are Auto: arrays carry their sharding, and the compiler does the rest.
"""

import contextlib
from collections.abc import Iterator, Mapping

import flax.linen as nn
import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from soundstorm_jax.config import MeshConfig
from soundstorm_jax.parallel.rules import BATCH_AXES, MESH_AXES, RULES


def make_mesh(config: MeshConfig, *, devices: list | None = None) -> Mesh:
  """Arranges devices into the mesh ('data', 'fsdp', 'tensor').

  Args:
    config: devices along each axis; -1 takes what is left.
    devices: the devices to use; by default all of them, of all hosts.

  Raises:
    ValueError: the sizes do not multiply to the number of devices.
  """
  devices = jax.devices() if devices is None else devices
  sizes = [config.data, config.fsdp, config.tensor]
  if -1 in sizes:
    rest = -int(np.prod(sizes))
    sizes[sizes.index(-1)] = len(devices) // rest
  if int(np.prod(sizes)) != len(devices):
    raise ValueError(
      f"a mesh of data={config.data}, fsdp={config.fsdp}, "
      f"tensor={config.tensor} does not fill {len(devices)} devices"
    )
  return jax.make_mesh(
    tuple(sizes),
    MESH_AXES,
    axis_types=(AxisType.Auto,) * len(MESH_AXES),
    devices=devices,
  )


@contextlib.contextmanager
def use_mesh(mesh: Mesh) -> Iterator[None]:
  """Lets models translate their logical axis names; enter it before tracing."""
  with jax.set_mesh(mesh), nn.logical_axis_rules(RULES):
    yield


def batch_shards(mesh: Mesh) -> int:
  """The number of parts that a batch is cut into."""
  return int(np.prod([mesh.shape[axis] for axis in BATCH_AXES]))


def batch_sharding(mesh: Mesh) -> NamedSharding:
  """The sharding of every array of a batch: its first axis is spread."""
  return NamedSharding(mesh, PartitionSpec(BATCH_AXES))


def replicated(mesh: Mesh) -> NamedSharding:
  """The sharding of a value that every device holds whole."""
  return NamedSharding(mesh, PartitionSpec())


def replicate(
  arrays: Mapping[str, np.ndarray], mesh: Mesh
) -> dict[str, jax.Array]:
  """Puts arrays, which are the same on all hosts, whole on every device."""
  sharding = replicated(mesh)
  return {
    name: jax.make_array_from_callback(
      array.shape, sharding, lambda index, array=array: array[index]
    )
    for name, array in arrays.items()
  }


def shard_batch(
  batch: Mapping[str, np.ndarray], mesh: Mesh
) -> dict[str, jax.Array]:
  """Puts this host's rows on its devices, as a part of the global batch.

  Args:
    batch: arrays of (b, ...), b the rows of this host; hosts hold equal shares.
    mesh: where to.

  Returns:
    Global arrays (B, ...), B = b times the number of hosts.
  """
  sharding = batch_sharding(mesh)
  return {
    name: jax.make_array_from_process_local_data(sharding, np.asarray(rows))
    for name, rows in batch.items()
  }
