"""How data reaches the compiled step: batches of the host, or on the device.

A source that makes batches on the host is asked for one a step. One whose data
lies on the device names a pure function that draws an example by its position;
batches are then made within the compiled step, and a call makes many steps.

Axes: B batch, T frames, Q levels, N samples.
"""

import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Key, Shaped, UInt32

from soundstorm_jax.config import TrainConfig
from soundstorm_jax.parallel.mesh import batch_sharding, replicate, shard_batch
from soundstorm_jax.training import keys
from soundstorm_jax.training.metrics import Metrics
from soundstorm_jax.training.step import compile_drawn_steps, compile_train_step
from soundstorm_jax.training.task import Batch, State, Task

Rows = dict[str, np.ndarray]
Arrays = Mapping[str, Shaped[Array, "..."]]
# Positions are unsigned 32-bit numbers within the compiled step.
_MOST_EXAMPLES = 2**32


@runtime_checkable
class Source(Protocol):
  """Batches of this host's rows; a position is all there is to restore."""

  def train_batches(self, start_step: int = 0) -> Iterator[Rows]:
    """Endless batches from a given step on."""

  def eval_batches(self) -> Iterator[Rows]:
    """The held-out batches, always the same; may be none."""


@runtime_checkable
class OnDevice(Protocol):
  """Data that lies on every device, whole, and examples drawn from it there."""

  def arrays(self) -> Mapping[str, np.ndarray]:
    """What `draw` reads."""

  def draw(
    self, arrays: Arrays, position: UInt32[Array, ""], *, key: Key[Array, ""]
  ) -> Batch:
    """The example at a global position, under the run's key; pure."""

  def eval_batches(self) -> Iterator[Rows]:
    """The held-out batches, as in `Source`."""


class Done(NamedTuple):
  """What steps that were made together leave to report.

  Attributes:
    steps: how many.
    metrics: summed over them.
    skipped: above 0 for each that was skipped; may have more entries.
    frames: valid ones, over all hosts.
    window: frames of an example, padding included.
  """

  steps: int
  metrics: Metrics
  skipped: Any
  frames: Any
  window: int


class HostFeed:
  """Steps on batches that the host makes, one at a time.

  Attributes:
    most_steps: of a call.
  """

  most_steps = 1

  def __init__(
    self,
    source: Source,
    task: Task,
    target: Any,
    *,
    config: TrainConfig,
    mesh: Mesh,
  ):
    self._source = source
    self._mesh = mesh
    self._task = task
    self._step = compile_train_step(task, target, mesh=mesh)

  def data(self, start_step: int) -> Iterator[Rows]:
    """What each call of `advance` takes, from a step on."""
    return self._source.train_batches(start_step)

  def batches(self) -> Iterator[Batch]:
    """The run's first batches, on the devices."""
    return (shard_batch(rows, self._mesh) for rows in self.data(0))

  def advance(
    self, state: State, data: Rows, key: jax.Array, *, steps: int
  ) -> tuple[State, Done]:
    """One step; the state is donated."""
    if steps != 1:
      raise ValueError(f"a batch makes 1 step, got {steps}")
    state, metrics = self._step(state, shard_batch(data, self._mesh), key)
    window = self._task.window_frames(data)
    return state, Done(
      steps,
      metrics,
      skipped=metrics["skipped"].total,
      # Hosts hold equal shares.
      frames=int(valid_frames(data, window=window)) * jax.process_count(),
      window=window,
    )


class DeviceFeed:
  """Steps on batches that are drawn where they are used.

  Raises:
    ValueError: at construction, the run is too long for its positions.

  Attributes:
    most_steps: of a call.
  """

  def __init__(
    self,
    source: OnDevice,
    task: Task,
    target: Any,
    *,
    config: TrainConfig,
    mesh: Mesh,
  ):
    examples = config.steps * config.batch_size
    if examples > _MOST_EXAMPLES:
      raise ValueError(
        f"steps * batch_size must be at most {_MOST_EXAMPLES} for data on the "
        f"device, got {examples}"
      )
    self.most_steps = config.steps_per_call
    self._arrays = replicate(source.arrays(), mesh)
    draw = batch_drawer(
      source.draw,
      batch_size=config.batch_size,
      key=keys.stream(config.seed, name="data"),
    )
    self._draw = jax.jit(draw, out_shardings=batch_sharding(mesh))
    batch = jax.eval_shape(draw, self._arrays, jnp.zeros((), jnp.int32))
    window = self._window = task.window_frames(batch)
    self._steps = compile_drawn_steps(
      task,
      draw,
      target,
      mesh=mesh,
      most_steps=self.most_steps,
      count=lambda batch: valid_frames(batch, window=window),
    )

  def data(self, start_step: int) -> Iterator[Arrays]:
    """What each call of `advance` takes; the state knows the step."""
    del start_step
    return itertools.repeat(self._arrays)

  def batches(self) -> Iterator[Batch]:
    """The run's first batches, on the devices."""
    return (self._draw(self._arrays, step) for step in itertools.count())

  def advance(
    self, state: State, data: Arrays, key: jax.Array, *, steps: int
  ) -> tuple[State, Done]:
    """Several steps in one call; the state is donated."""
    if not 1 <= steps <= self.most_steps:
      raise ValueError(
        f"steps must be between 1 and {self.most_steps}, got {steps}"
      )
    state, made = self._steps(state, data, key, steps)
    return state, Done(
      steps,
      made.metrics,
      skipped=made.skipped,
      frames=made.frames,
      window=self._window,
    )


def make_feed(
  source: Source | OnDevice, task: Task, target: Any, **kwargs: Any
) -> HostFeed | DeviceFeed:
  """The feed of a source; arguments are those of the feeds."""
  kind = DeviceFeed if isinstance(source, OnDevice) else HostFeed
  return kind(source, task, target, **kwargs)


def batch_drawer(
  draw: Callable[..., Batch], *, batch_size: int, key: Key[Array, ""]
) -> Callable[[Arrays, Any], Batch]:
  """A function from (arrays, step) to the step's batch.

  Args:
    draw: of an example; see `OnDevice`.
    batch_size: of the global batch; row i of step s is position s * B + i.
    key: of the whole run.
  """

  def draw_batch(arrays: Arrays, step: jax.typing.ArrayLike) -> Batch:
    first = jnp.asarray(step).astype(jnp.uint32) * batch_size
    positions = first + jnp.arange(batch_size, dtype=jnp.uint32)
    return jax.vmap(lambda k: draw(arrays, k, key=key))(positions)

  return draw_batch


def valid_frames(batch: Mapping[str, Any], *, window: int) -> Any:
  """The frames of a batch that hold data.

  Args:
    batch: of rows.
    window: frames of a row.
  """
  if "valid" in batch:
    return batch["valid"].sum()
  return len(next(iter(batch.values()))) * window
