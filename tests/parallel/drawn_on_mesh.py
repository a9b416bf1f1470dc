"""Run by test_sharding.py with eight devices: data on all, drawn as on one."""

import pathlib
import sys
import tempfile

import jax
import numpy as np

from soundstorm_jax.data.packed_source import PackedTokenSource
from soundstorm_jax.parallel.mesh import batch_sharding, make_mesh, use_mesh
from soundstorm_jax.soundstorm.task import SoundStormTask
from soundstorm_jax.train import read_config
from soundstorm_jax.training.feed import make_feed
from soundstorm_jax.training.state import abstract_state, init_state
from tests.tiny_packed import SIZES, write_tokens


def run(path, devices, **sizes):
  config = read_config(
    {
      "task": "soundstorm",
      "batch_size": 8,
      "steps": 6,
      "mesh": sizes,
      "data": {"path": path, "window_seconds": 0.4},
      "optimizer": {"lr": 1e-3, "warmup_steps": 0, "accumulate": 2},
      "system": {
        "model": SIZES
        | {"conformer": {"dim": 8, "layers": 1, "heads": 2, "ff_dim": 16}},
      },
    },
  )
  mesh = make_mesh(config.mesh, devices=devices)
  task = SoundStormTask(config)
  source = PackedTokenSource(config.data, batch_size=8)
  with use_mesh(mesh):
    target = abstract_state(task.init_state, mesh)
    state = init_state(task.init_state, jax.random.key(0), mesh=mesh)
    feed = make_feed(source, task, target, config=config, mesh=mesh)
    first = next(feed.batches())
    expected = batch_sharding(mesh)
    for array in first.values():
      assert array.sharding.is_equivalent_to(expected, array.ndim)
    for part, _ in zip(feed.data(0), range(2), strict=False):
      state, done = feed.advance(state, part, jax.random.key(1), steps=3)
  assert int(state.step) == 6
  return jax.device_get((first, state.params, done))


def main():
  assert jax.device_count() == 8
  with tempfile.TemporaryDirectory() as folder:
    path = str(pathlib.Path(folder) / "tokens.safetensors")
    write_tokens(path)
    single = run(path, jax.devices()[:1], data=1)
    sharded = run(path, jax.devices(), data=2, fsdp=2, tensor=2)
  jax.tree.map(np.testing.assert_array_equal, single[0], sharded[0])
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-5),
    single[1:],
    sharded[1:],
  )
  assert "tensorflow" not in sys.modules
  print("equal")


if __name__ == "__main__":
  main()
