"""Run by test_sharding.py with eight devices: a mesh computes what one does."""

import jax
import numpy as np

from soundstorm_jax.parallel.mesh import make_mesh, shard_batch, use_mesh
from soundstorm_jax.soundstorm.task import SoundStormTask
from soundstorm_jax.train import read_config
from soundstorm_jax.training.state import abstract_state, init_state
from soundstorm_jax.training.step import compile_eval_step, compile_train_step

FRAMES, LEVELS, CODES = 12, 2, 16


def make_batch(seed):
  rng = np.random.default_rng(seed)
  lengths = rng.integers(1, FRAMES + 1, (8, 1))
  return {
    "acoustic": rng.integers(0, CODES, (8, FRAMES, LEVELS), dtype=np.int32),
    "semantic": rng.integers(0, 8, (8, FRAMES), dtype=np.int32),
    "valid": np.arange(FRAMES) < lengths,
  }


def run(devices, **sizes):
  config = read_config(
    {
      "task": "soundstorm",
      "batch_size": 8,
      "mesh": sizes,
      "optimizer": {"lr": 1e-3, "warmup_steps": 0, "accumulate": 2},
      "system": {
        "model": {
          "levels": LEVELS,
          "codes": CODES,
          "semantic_vocab": 8,
          "conformer": {"dim": 8, "layers": 1, "heads": 2, "ff_dim": 16},
        },
      },
    },
  )
  mesh = make_mesh(config.mesh, devices=devices)
  task = SoundStormTask(config)
  with use_mesh(mesh):
    target = abstract_state(task.init_state, mesh)
    state = init_state(task.init_state, jax.random.key(0), mesh=mesh)
    shardings = jax.tree.map(lambda leaf: leaf.sharding, state)
    train_step = compile_train_step(task, target, mesh=mesh)
    for k in range(3):
      batch = shard_batch(make_batch(k), mesh)
      state, metrics = train_step(state, batch, jax.random.key(1))
    # Nothing moved: the next step would otherwise compile again.
    assert jax.tree.all(
      jax.tree.map(
        lambda leaf, s: leaf.sharding.is_equivalent_to(s, leaf.ndim),
        state,
        shardings,
      )
    )
    batch = shard_batch(make_batch(9), mesh)
    held_out = compile_eval_step(task, target, mesh=mesh)(
      state, batch, jax.random.key(2)
    )
  specs = [leaf.sharding.spec for leaf in jax.tree.leaves(state.params)]
  return jax.device_get((state.params, metrics, held_out)), specs


def main():
  assert jax.device_count() == 8
  single, _ = run(jax.devices()[:1], data=1)
  sharded, specs = run(jax.devices(), data=2, fsdp=2, tensor=2)
  used = {axis for spec in specs for axis in spec if axis}
  assert used == {"fsdp", "tensor"}, used
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-5),
    single,
    sharded,
  )
  print("equal")


if __name__ == "__main__":
  main()
