"""The state of a training run, made once and in place.

`TrainState` serves models that have nothing beside parameters; a task with more
to keep (codebooks, a discriminator) has its own NamedTuple with the same names.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from jaxtyping import Array, Int, Key

from soundstorm_jax.parallel import rules
from soundstorm_jax.training import keys
from soundstorm_jax.training import optimizer as optimizer_lib
from soundstorm_jax.training.metrics import Mean, Metrics
from soundstorm_jax.training.task import Batch, StartsFromData, State, Task


class TrainState(NamedTuple):
  """Steps completed, parameters, optimizer state, averaged parameters."""

  step: Int[Array, ""]
  params: Any
  opt_state: Any
  ema_params: Any


def new_state(params: Any, optimizer: Any) -> TrainState:
  """The state before the first step; boxes on the parameters are kept."""
  # Donation needs the average in buffers of its own.
  average = jax.tree.map(jnp.copy, params)
  return TrainState(
    jnp.zeros((), jnp.int32), params, optimizer.init(params), average
  )


def next_state(
  state: TrainState, grads: Any, *, optimizer: Any, ema_decay: float
) -> tuple[TrainState, Metrics]:
  """The state after a step, and the norms of what was done (`Update`)."""
  update = optimizer_lib.update(
    optimizer, grads, params=state.params, opt_state=state.opt_state
  )
  average = optimizer_lib.update_ema(
    state.ema_params, update.params, decay=ema_decay, step=state.step
  )
  norms = {name: Mean.of(value) for name, value in update.norms.items()}
  return (
    TrainState(state.step + 1, update.params, update.opt_state, average),
    norms,
  )


def abstract_state(init: Callable[[Key[Array, ""]], Any], mesh: Mesh) -> Any:
  """Shapes, dtypes and shardings of the state, without making it.

  Args:
    init: a task's `init_state`.
    mesh: where the state will live.
  """
  with rules.no_rules():
    boxed = jax.eval_shape(init, jax.random.key(0))
  return rules.abstract(boxed, mesh)


def begin(
  task: Task,
  target: Any,
  batches: Callable[[], Iterator[Batch]],
  *,
  seed: int,
  mesh: Mesh,
) -> State:
  """The state before the first step, from data if the task wants to.

  Args:
    task: the model.
    target: the state's shapes and shardings.
    batches: the run's first batches.
    seed: of the run.
    mesh: where the state will live.
  """
  state = init_state(task.init_state, keys.stream(seed, name="init"), mesh=mesh)
  if not isinstance(task, StartsFromData):
    return state
  key = keys.stream(seed, name="start")
  state = task.start_from_data(state, batches(), key)
  # Laid out over the mesh like the state it had.
  shardings = jax.tree.map(lambda leaf: leaf.sharding, target)
  return jax.device_put(state, shardings)


def init_state(
  init: Callable[[Key[Array, ""]], Any], key: Key[Array, ""], *, mesh: Mesh
) -> Any:
  """Makes the state with every array born on its own devices."""
  target = abstract_state(init, mesh)
  shardings = jax.tree.map(lambda leaf: leaf.sharding, target)
  make = jax.jit(lambda key: rules.unbox(init(key)), out_shardings=shardings)
  with rules.no_rules():
    return make(key)
