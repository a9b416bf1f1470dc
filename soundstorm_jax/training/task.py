"""What a model must offer to be trained: its state, its steps, its samples.

The training program (`soundstorm_jax.train`) knows no model. It asks a task for
the state, compiles the task's two pure functions over the mesh, and does the
rest: data, checkpoints, evaluation, logging.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Protocol, runtime_checkable

import jax
from jaxtyping import Array, Key

from soundstorm_jax.training.metrics import Metrics
from soundstorm_jax.training.writer import MetricWriter

State = Any
Batch = dict[str, jax.Array]


@runtime_checkable
class Task(Protocol):
  """One trainable model.

  A state is a NamedTuple with at least `step` (int32 scalar: steps completed),
  `params` and `ema_params`. It holds no random key and no optimizer object. If
  a batch has "valid" (B, T), that says which frames hold data; else all do.
  """

  def init_state(self, key: Key[Array, ""]) -> State:
    """A new state; parameters boxed with their logical axis names."""

  def train_step(
    self, state: State, batch: Batch, key: Key[Array, ""]
  ) -> tuple[State, Metrics]:
    """One step; pure. Metrics hold at least "loss" and "grad_norm"."""

  def eval_step(
    self, state: State, batch: Batch, key: Key[Array, ""]
  ) -> Metrics:
    """Metrics of a held-out batch under the averaged parameters; pure."""

  def window_frames(self, batch: Mapping[str, Any]) -> int:
    """Frames of a row, padding included; of the batch's shapes alone."""

  def write_samples(
    self,
    state: State,
    batch: Batch,
    *,
    writer: MetricWriter,
    step: int,
  ) -> None:
    """Writes something to look at or listen to; may do nothing."""


@runtime_checkable
class StartsFromData(Protocol):
  """A task that looks at data before its first step."""

  def start_from_data(
    self, state: State, batches: Iterator[Batch], key: Key[Array, ""]
  ) -> State:
    """The state to begin with; takes as many batches as it needs."""


@runtime_checkable
class CountsFlops(Protocol):
  """A task that knows its work, for the share of the hardware's peak (MFU)."""

  def flops_per_frame(self, frames: int) -> float:
    """Forward and backward operations per frame, in windows of `frames`."""
