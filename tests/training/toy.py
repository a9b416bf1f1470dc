"""A linear model and endless data, small enough to train in a test."""

import json
import os
import signal
from collections.abc import Iterator

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from soundstorm_jax.config import TrainConfig, from_mapping
from soundstorm_jax.training import optimizer as optimizer_lib
from soundstorm_jax.training.metrics import Mean
from soundstorm_jax.training.state import new_state, next_state
from soundstorm_jax.training.step import accumulate

WIDTH = 8


def config(**values) -> TrainConfig:
  """Six steps, a checkpoint after every second one."""
  defaults = {
    "steps": 6,
    "batch_size": 8,
    "log_every": 2,
    "eval_every": 3,
    "save_every": 2,
    "optimizer": {"lr": 0.05, "warmup_steps": 2},
  }
  return from_mapping(TrainConfig, defaults | values)


class ToyTask:
  """Least squares on noisy inputs, with uneven weights."""

  def __init__(self, config: TrainConfig):
    self._config = config
    self._optimizer = optimizer_lib.make_optimizer(
      config.optimizer, config.steps
    )

  def init_state(self, key):
    def box(value, *names):
      return nn.LogicallyPartitioned(value, names)

    params = {
      "kernel": box(jax.random.normal(key, (WIDTH, WIDTH)), "embed", "mlp"),
      "bias": box(jnp.zeros((WIDTH,)), "mlp"),
    }
    return new_state(params, self._optimizer)

  def _loss(self, params, batch, key):
    def noise(row):
      return jax.random.normal(jax.random.fold_in(key, row), (WIDTH,))

    inputs = batch["x"] + 0.1 * jax.vmap(noise)(batch["row"])
    inputs = nn.with_logical_constraint(inputs, ("act_batch", "act_embed"))
    errors = jnp.sum(
      (inputs @ params["kernel"] + params["bias"] - batch["y"]) ** 2, axis=-1
    )
    return Mean(jnp.sum(errors * batch["w"]), jnp.sum(batch["w"]))

  def train_step(self, state, batch, key):
    batch = batch | {"row": jnp.arange(batch["x"].shape[0])}

    def loss(params, part):
      mean = self._loss(params, part, key)
      return mean, {"loss": mean}

    grads, _, metrics = accumulate(
      loss,
      state.params,
      batch,
      parts=self._config.optimizer.accumulate,
    )
    state, norms = next_state(
      state, grads, optimizer=self._optimizer, ema_decay=0.9
    )
    return state, metrics | norms

  def eval_step(self, state, batch, key):
    batch = batch | {"row": jnp.arange(batch["x"].shape[0])}
    return {"loss": self._loss(state.ema_params, batch, key)}

  def window_frames(self, batch):
    return 1

  def write_samples(self, state, batch, *, writer, step):
    writer.write_scalars(step, {"sample": float(state.params["bias"][0])})


class ToySource:
  """Batch k is a function of k; remembers which were asked for.

  Batches of `bad_steps` are not finite. While batch `kill_at` is made, this
  process gets a SIGTERM.
  """

  def __init__(
    self, *, bad_steps: tuple[int, ...] = (), kill_at: int | None = None
  ):
    self.bad_steps = bad_steps
    self.kill_at = kill_at
    self.served: list[int] = []

  def _batch(self, seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(8, WIDTH)).astype(np.float32)
    weights = rng.integers(0, 3, size=8).astype(np.float32)
    return {"x": x, "y": x[:, ::-1].copy(), "w": weights}

  def train_batches(self, start_step: int = 0) -> Iterator[dict]:
    step = start_step
    while True:
      self.served.append(step)
      batch = self._batch(step)
      if step in self.bad_steps:
        batch["x"][0, 0] = np.nan
      if step == self.kill_at:
        os.kill(os.getpid(), signal.SIGTERM)
      yield batch
      step += 1

  def eval_batches(self) -> Iterator[dict]:
    yield self._batch(10_001)
    yield self._batch(10_002)


class ToyStrip:
  """The same on the device: an example is a function of its position.

  Examples of `bad_steps` are not finite.
  """

  def __init__(self, *, bad_steps: tuple[int, ...] = ()):
    self.bad_steps = bad_steps

  def arrays(self) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {"x": rng.normal(size=(100, WIDTH)).astype(np.float32)}

  def draw(self, arrays, position, *, key):
    key = jax.random.fold_in(key, position)
    x = arrays["x"][jax.random.randint(key, (), 0, 100)]
    bad = jnp.isin(position // 8, jnp.array(self.bad_steps, jnp.uint32))
    return {
      "x": jnp.where(bad, jnp.nan, x),
      "y": x[::-1],
      "w": (position % 3).astype(jnp.float32),
    }

  def eval_batches(self) -> Iterator[dict]:
    return ToySource().eval_batches()


def fingerprint(tree) -> str:
  """Every bit of a tree, for comparing two runs."""
  leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(tree)]
  return json.dumps([leaf.tobytes().hex() for leaf in leaves])
