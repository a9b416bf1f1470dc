"""What a run looks at beside its steps: held-out batches, and samples."""

from typing import Any

import jax
from jax.sharding import Mesh

from soundstorm_jax.config import TrainConfig
from soundstorm_jax.parallel.mesh import shard_batch
from soundstorm_jax.training import keys
from soundstorm_jax.training.feed import OnDevice, Source
from soundstorm_jax.training.metrics import add, means
from soundstorm_jax.training.progress import tell
from soundstorm_jax.training.step import compile_eval_step
from soundstorm_jax.training.task import State, Task
from soundstorm_jax.training.writer import MetricWriter


class HeldOut:
  """Held-out data, and what is made of it.

  Args:
    task: the model.
    source: of the batches.
    target: the state's shapes and shardings.
    config: of the run.
    mesh: where the state lives.
    writer: where figures and samples go.
  """

  def __init__(
    self,
    task: Task,
    source: Source | OnDevice,
    target: Any,
    *,
    config: TrainConfig,
    mesh: Mesh,
    writer: MetricWriter,
  ):
    self._task = task
    self._source = source
    self._mesh = mesh
    self._writer = writer
    self._step = compile_eval_step(task, target, mesh=mesh)
    self._key = keys.stream(config.seed, name="eval")

  def evaluate(self, state: State, *, step: int) -> dict[str, float]:
    """Means over the held-out batches, written under "eval/"."""
    total: dict = {}
    for index, rows in enumerate(self._source.eval_batches()):
      batch = shard_batch(rows, self._mesh)
      metrics = self._step(state, batch, jax.random.fold_in(self._key, index))
      total = add(total, jax.device_get(metrics))
    result = means(total)
    if result:
      self._writer.write_scalars(
        step, {f"eval/{name}": value for name, value in result.items()}
      )
      parts = [f"{name} {value:.4g}" for name, value in result.items()]
      tell("  ".join([f"step {step} held out:", *parts]))
    return result

  def write_samples(self, state: State, *, step: int) -> None:
    """Lets the task write something to listen to, from the first batch."""
    for rows in self._source.eval_batches():
      batch = shard_batch(rows, self._mesh)
      self._task.write_samples(state, batch, writer=self._writer, step=step)
      break
