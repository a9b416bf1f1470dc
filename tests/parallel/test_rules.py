"""The table of axis names, and the models' use of it."""

import jax
import pytest
from flax import linen as nn
from jax.sharding import PartitionSpec as P

from soundstorm_jax.config import MeshConfig, TrainConfig
from soundstorm_jax.layers.config import ConformerConfig
from soundstorm_jax.parallel import rules
from soundstorm_jax.parallel.mesh import make_mesh
from soundstorm_jax.soundstorm.config import (
  SoundStormConfig,
  SoundStormTrainingConfig,
)
from soundstorm_jax.soundstorm.task import SoundStormTask
from soundstorm_jax.soundstream.config import (
  SoundStreamConfig,
  SoundStreamTrainingConfig,
)
from soundstorm_jax.soundstream.task import SoundStreamTask
from soundstorm_jax.training.state import abstract_state


def mesh(**sizes):
  """A mesh of devices that need not exist: only its shape is looked at."""
  shape = tuple(sizes.get(axis, 1) for axis in rules.MESH_AXES)
  return jax.sharding.AbstractMesh(shape, rules.MESH_AXES)


@pytest.mark.parametrize(
  ("names", "shape", "expected"),
  [
    (("embed", "mlp"), (8, 8), P("fsdp", "tensor")),
    (("embed", "heads", "kv"), (8, 2, 4), P("fsdp", "tensor", None)),
    # 1025 rows are not divided; the width is.
    (("levels", "table", "embed"), (12, 1025, 8), P(None, None, "fsdp")),
    # Neither is a width that the axis does not divide.
    (("embed", "mlp"), (6, 7), P(None, None)),
    # An axis serves one dimension, the first that asks.
    (("embed", "embed"), (8, 8), P("fsdp", None)),
    (
      ("act_batch", "act_time", "act_mlp"),
      (8, 5, 8),
      P(("data", "fsdp"), None, "tensor"),
    ),
    ((None, "mlp"), (8, 8), P(None, "tensor")),
  ],
)
def test_partition_spec(names, shape, expected):
  found = rules.partition_spec(names, shape, mesh(data=2, fsdp=4, tensor=2))
  assert found == expected


def test_unknown_name():
  with pytest.raises(ValueError, match="'embbed'"):
    rules.partition_spec(("embbed",), (8,), mesh())


def test_one_name_per_axis():
  with pytest.raises(ValueError, match="1 axis names"):
    rules.partition_spec(("embed",), (8, 8), mesh())


SOUNDSTORM = SoundStormTrainingConfig(
  model=SoundStormConfig(
    conformer=ConformerConfig(dim=16, layers=1, heads=2, ff_dim=16)
  )
)


@pytest.mark.parametrize(
  ("task", "system"),
  [
    (SoundStormTask, SOUNDSTORM),
    (SoundStreamTask, SoundStreamTrainingConfig()),
  ],
)
def test_every_parameter_has_names_in_the_table(task, system):
  config = TrainConfig(system=system)
  boxed = jax.eval_shape(task(config).init_state, jax.random.key(0))
  leaves = jax.tree.leaves(
    boxed.params, is_leaf=lambda x: isinstance(x, nn.LogicallyPartitioned)
  )
  assert leaves
  assert all(isinstance(leaf, nn.LogicallyPartitioned) for leaf in leaves)
  # An unknown name would be an error here, in the optimizer's state as well.
  abstract = abstract_state(task(config).init_state, make_mesh(MeshConfig()))
  assert len(jax.tree.leaves(abstract)) > 3 * len(leaves)


def test_state_of_an_optimizer_for_some_parameters_has_its_shardings():
  config = TrainConfig(
    task="soundstream",
    system=SoundStreamTrainingConfig(
      model=SoundStreamConfig(
        encoder_channels=2, decoder_channels=2, dim=4, levels=2, codes=4
      ),
      muon=True,
      discriminator_channels=2,
    ),
  )
  init = SoundStreamTask(config).init_state
  made = rules.unbox(jax.eval_shape(init, jax.random.key(0)))
  abstract = abstract_state(init, make_mesh(MeshConfig()))
  assert jax.tree.structure(abstract) == jax.tree.structure(made)
  assert all(leaf.sharding is not None for leaf in jax.tree.leaves(abstract))


def test_every_activation_has_names_in_the_table():
  # `with_logical_constraint` takes an unknown name for an axis that is not cut,
  # so the table is made strict by looking at what the models ask for.
  asked = set()
  original = nn.with_logical_constraint

  def recording(x, names, *args, **kwargs):
    asked.update(name for name in names if name)
    return original(x, names, *args, **kwargs)

  config = TrainConfig(system=SOUNDSTORM)
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(nn, "with_logical_constraint", recording)
    jax.eval_shape(SoundStormTask(config).init_state, jax.random.key(0))
  assert "act_embed" in asked
  assert asked <= set(dict(rules.RULES))


@pytest.mark.parametrize(
  "sizes", [{"data": 3}, {"data": -1, "fsdp": 2}, {"data": 1, "tensor": 2}]
)
def test_mesh_that_does_not_fill_the_devices(sizes):
  with pytest.raises(ValueError, match="does not fill 1 devices"):
    make_mesh(MeshConfig(**sizes), devices=jax.devices()[:1])
