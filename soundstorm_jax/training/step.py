"""The steps as they are compiled, and what surrounds a task's own step.

B batch, A parts of an accumulated batch, K steps of a call.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from jaxtyping import Array, Bool, Int

from soundstorm_jax.config import OptimizerConfig
from soundstorm_jax.parallel.mesh import batch_sharding, replicated
from soundstorm_jax.training.metrics import Mean, Metrics
from soundstorm_jax.training.state import TrainState, next_state
from soundstorm_jax.training.task import Batch, State, Task

TrainStep = Callable[[State, Batch, jax.Array], tuple[State, Metrics]]
EvalStep = Callable[[State, Batch, jax.Array], Metrics]


def skip_nonfinite(train_step: TrainStep) -> TrainStep:
  """Keeps the old state where a step's loss or gradient norm is not finite.

  The step still counts as completed, so that the next batch is another one.
  Its metrics count for nothing, except "skipped" (1 for such a step).
  """

  def guarded(
    state: State, batch: Batch, key: jax.Array
  ) -> tuple[State, Metrics]:
    new, metrics = train_step(state, batch, key)
    good = jnp.isfinite(metrics["loss"].total) & jnp.isfinite(
      metrics["grad_norm"].total
    )
    kept = jax.tree.map(lambda n, o: jnp.where(good, n, o), new, state)
    kept = kept._replace(step=new.step)
    metrics = jax.tree.map(lambda m: jnp.where(good, m, 0.0), metrics)
    metrics["skipped"] = Mean.of(~good)
    return kept, metrics

  return guarded


def compile_train_step(task: Task, target: Any, *, mesh: Mesh) -> TrainStep:
  """The jitted train step: the state is donated, outputs stay in place.

  Args:
    task: whose `train_step` it is.
    target: the abstract state, with shardings.
    mesh: the mesh it runs on.

  Returns:
    (state, batch, key) -> (state, metrics); the key is that of the whole run,
    and the step's own is derived from it by `state.step`. Has `.lower` for
    ahead-of-time compilation.
  """
  guarded = skip_nonfinite(task.train_step)

  def step(state: State, batch: Batch, key: jax.Array) -> tuple[State, Metrics]:
    return guarded(state, batch, jax.random.fold_in(key, state.step))

  shardings = jax.tree.map(lambda leaf: leaf.sharding, target)
  return jax.jit(
    step,
    in_shardings=(shardings, batch_sharding(mesh), replicated(mesh)),
    out_shardings=(shardings, replicated(mesh)),
    donate_argnums=0,
  )


class DrawnSteps(NamedTuple):
  """What several steps in one call leave beside the state.

  Attributes:
    metrics: summed over them.
    skipped: whether each was skipped; False beyond the last.
    frames: with data.
  """

  metrics: Metrics
  skipped: Bool[Array, " K"]
  frames: Int[Array, ""]


def compile_drawn_steps(
  task: Task,
  draw: Callable[[Any, jax.Array], Batch],
  target: Any,
  *,
  mesh: Mesh,
  most_steps: int,
  count: Callable[[Batch], Any],
) -> Callable[[State, Any, jax.Array, int], tuple[State, DrawnSteps]]:
  """Train steps in one call, on batches that are drawn on the devices.

  How many is an argument, not a shape: a call that ends where a log line or a
  checkpoint is due needs no compilation of its own, and the steps of a run are
  the same whichever way they are parted into calls.

  Args:
    task: whose `train_step` it is.
    draw: (arrays, step) -> the step's batch.
    target: the abstract state, with shardings.
    mesh: the mesh it runs on.
    most_steps: K, of a call.
    count: frames of a batch that hold data.

  Returns:
    (state, arrays, key, steps) -> (state, what the steps leave); the key is
    that of the whole run. The state is donated.
  """
  guarded = skip_nonfinite(task.train_step)
  shardings = jax.tree.map(lambda leaf: leaf.sharding, target)

  def one(state: State, arrays: Any, key: jax.Array) -> tuple[State, Any]:
    batch = jax.lax.with_sharding_constraint(
      draw(arrays, state.step), batch_sharding(mesh)
    )
    step_key = jax.random.fold_in(key, state.step)
    state, metrics = guarded(state, batch, step_key)
    state = jax.lax.with_sharding_constraint(state, shardings)
    return state, (metrics, jnp.asarray(count(batch), jnp.int32))

  def many(
    state: State, arrays: Any, key: jax.Array, steps: jax.Array
  ) -> tuple[State, DrawnSteps]:
    def body(turn: jax.Array, carry: Any) -> Any:
      state, total, skipped = carry
      state, made = one(state, arrays, key)
      skipped = skipped.at[turn].set(made[0]["skipped"].total > 0)
      return state, jax.tree.map(jnp.add, total, made), skipped

    _, made = jax.eval_shape(one, state, arrays, key)
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), made)
    nothing = jnp.zeros(most_steps, bool)
    state, (metrics, frames), skipped = jax.lax.fori_loop(
      0, steps, body, (state, zeros, nothing)
    )
    return state, DrawnSteps(metrics, skipped, frames)

  whole = replicated(mesh)
  return jax.jit(
    many,
    in_shardings=(shardings, whole, whole, whole),
    out_shardings=(shardings, whole),
    donate_argnums=0,
  )


def compile_eval_step(task: Task, target: Any, *, mesh: Mesh) -> EvalStep:
  """The jitted evaluation step; arguments as in `compile_train_step`."""
  shardings = jax.tree.map(lambda leaf: leaf.sharding, target)
  return jax.jit(
    task.eval_step,
    in_shardings=(shardings, batch_sharding(mesh), replicated(mesh)),
    out_shardings=replicated(mesh),
  )


def descend(
  loss: Callable[[Any, Any], tuple[Mean, Metrics]],
  state: TrainState,
  batch: Any,
  *,
  optimizer: Any,
  config: OptimizerConfig,
) -> tuple[TrainState, Metrics]:
  """The state after one step down a loss, and the step's metrics.

  Args:
    loss: see `accumulate`.
    state: before the step.
    batch: likewise; its arrays are cut into `config.accumulate` parts.
    optimizer: of the state.
    config: how it is set.

  Returns:
    The new state; metrics of the loss, and the norms of what was done.
  """
  grads, _, metrics = accumulate(
    loss, state.params, batch, parts=config.accumulate
  )
  state, norms = next_state(
    state, grads, optimizer=optimizer, ema_decay=config.ema_decay
  )
  return state, metrics | norms


def accumulate(
  loss: Callable[[Any, Any], tuple[Mean, Metrics]],
  params: Any,
  batch: Any,
  *,
  parts: int,
) -> tuple[Any, Mean, Metrics]:
  """Gradients of a mean over a batch, computed part by part.

  Sums and counts are added over the parts and divided once, so that the result
  is that of the whole batch however unevenly the counts fall.

  Args:
    loss: (params, part of the batch) -> (loss, metrics) as sums and counts; the
      counts must not depend on the parameters.
    params: what to differentiate by.
    batch: arrays of (B, ...).
    parts: A, a divisor of B.

  Returns:
    Gradients of total / count (zero where nothing counted), the loss, metrics.
  """

  def total(params: Any, part: Any) -> tuple[jax.Array, tuple[Mean, Metrics]]:
    mean, metrics = loss(params, part)
    return mean.total, (mean, metrics)

  differentiate = jax.grad(total, has_aux=True)
  if parts == 1:
    grads, (mean, metrics) = differentiate(params, batch)
  else:
    # Row i goes to part i % A: every device keeps an equal share of each part.
    split = jax.tree.map(
      lambda x: jnp.swapaxes(
        x.reshape(x.shape[0] // parts, parts, *x.shape[1:]), 0, 1
      ),
      batch,
    )

    def body(carry: Any, part: Any) -> tuple[Any, None]:
      return jax.tree.map(jnp.add, carry, differentiate(params, part)), None

    first = jax.tree.map(lambda x: x[0], split)
    zeros = jax.tree.map(
      lambda x: jnp.zeros(x.shape, x.dtype),
      jax.eval_shape(differentiate, params, first),
    )
    (grads, (mean, metrics)), _ = jax.lax.scan(body, zeros, split)
  scale = 1.0 / jnp.maximum(mean.count, 1.0)
  return jax.tree.map(lambda g: g * scale, grads), mean, metrics
