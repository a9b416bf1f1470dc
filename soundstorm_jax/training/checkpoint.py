"""Checkpoints of a run: the state, and beside it the config and data position.

Orbax's v1 API: written in the background, the newest few kept. The step of a
checkpoint is the number of completed steps, which is also the number of the
batch that comes next.
"""

import json
import os
import signal
import types
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
from absl import logging
from etils import epath
from jax.experimental import multihost_utils
from orbax.checkpoint import v1 as ocp

from soundstorm_jax.config import TrainConfig, to_mapping

# What must not change between a checkpoint and its continuation: any of these
# would repeat or skip data, or put parameters into another model.
_FIXED = (
  "task",
  "seed",
  "batch_size",
  "data.split",
  "data.held_out_speakers",
  "data.window_seconds",
  "data.min_window_seconds",
  "data.on_device",
  "system.model",
)


class Restored(NamedTuple):
  """A checkpoint as read back.

  Attributes:
    state: of the run.
    step: completed steps.
    config: of the run that wrote it, as plain values.
  """

  state: Any
  step: int
  config: Mapping[str, Any]


class Checkpoints:
  """The checkpoints under `workdir/checkpoints`; close it when done."""

  def __init__(self, workdir: str | os.PathLike[str], *, config: TrainConfig):
    self._config = config
    policies = ocp.training.save_decision_policies
    self._checkpointer = ocp.training.Checkpointer(
      checkpoint_folder(workdir),
      save_decision_policy=policies.AnySavePolicy(
        [
          policies.FixedIntervalPolicy(config.save_every),
          policies.PreemptionCheckpointingPolicy(),
        ]
      ),
      preservation_policy=ocp.training.preservation_policies.LatestN(
        config.keep_checkpoints
      ),
      cleanup_tmp_directories=True,
    )

  def save(self, step: int, state: Any, *, force: bool = False) -> bool:
    """Starts to save if one is due (always, if forced); True if it did."""
    if any(info.step == step for info in self._checkpointer.checkpoints):
      return False
    response = self._checkpointer.save_checkpointables_async(
      step,
      {"state": state},
      force=force,
      custom_metadata={
        "config": to_mapping(self._config),
        "next_batch": step,
      },
    )
    return response is not None

  def restore(self, target: Any) -> Restored | None:
    """The newest checkpoint on the devices of `target`; None if there is none.

    Raises:
      ValueError: the run that wrote it had another model, seed, batch or data.
    """
    latest = self._checkpointer.latest
    if latest is None:
      return None
    saved = saved_config(self._checkpointer, step=latest.step)
    # As it will be read back: tuples are lists there.
    ours = json.loads(json.dumps(to_mapping(self._config)))
    for name in _FIXED:
      before, now = _field(saved, name), _field(ours, name)
      if before != now:
        raise ValueError(
          f"{self._checkpointer.directory} was written with {name}={before}, "
          f"and cannot be continued with {now}; use another workdir"
        )
    state = self._checkpointer.load_checkpointables(
      latest.step, {"state": target}
    )["state"]
    return Restored(state, latest.step, saved)

  def close(self) -> None:
    """Waits for what is being written."""
    self._checkpointer.close()


def checkpoint_folder(workdir: str | os.PathLike[str]) -> epath.Path:
  """Where the checkpoints of a run are, in a bucket or in an absolute path."""
  # Orbax wants it absolute; a bucket (gs://...) is, and must be left alone.
  folder = epath.Path(workdir)
  is_local = "://" not in str(workdir)
  return (folder.absolute() if is_local else folder) / "checkpoints"


def saved_config(
  checkpointer: ocp.training.Checkpointer, *, step: int
) -> Mapping[str, Any]:
  """The config of the run that wrote a checkpoint, as plain values."""
  return checkpointer.checkpointables_metadata(step).custom_metadata["config"]


def _field(config: Mapping[str, Any], name: str) -> Any:
  """A value by its dotted name; None if it is not there."""
  value: Any = config
  for part in name.split("."):
    value = value.get(part) if isinstance(value, Mapping) else None
  return value


def restore_for_inference(
  workdir: str | os.PathLike[str], *, step: int | None = None
) -> Restored:
  """A checkpoint as nested dicts of NumPy arrays, on this host alone.

  Raises:
    FileNotFoundError: there is no such checkpoint.
  """
  folder = checkpoint_folder(workdir)
  if not folder.is_dir():
    raise FileNotFoundError(f"no checkpoints in {folder}")
  with ocp.training.Checkpointer(folder) as checkpointer:
    steps = [info.step for info in checkpointer.checkpoints]
    if not steps or (step is not None and step not in steps):
      raise FileNotFoundError(f"no checkpoint {step} in {folder}, only {steps}")
    step = steps[-1] if step is None else step
    config = saved_config(checkpointer, step=step)
    saved = checkpointer.checkpointables_metadata(step).metadata["state"]
    # Wherever its arrays lived, they are read into this host's memory.
    here = jax.sharding.SingleDeviceSharding(
      jax.local_devices(backend="cpu")[0]
    )
    target = jax.tree.map(
      lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=here),
      saved,
    )
    state = checkpointer.load_checkpointables(step, {"state": target})["state"]
  return Restored(jax.device_get(state), step, config)


class StopSignal:
  """Turns a preemption into one more checkpoint and an orderly end.

  Across hosts the preemption service agrees on the step; on one, SIGTERM and
  SIGINT are caught (a second SIGINT interrupts at once).
  """

  def __init__(self):
    self._received = False
    self._asked_until: int | None = None
    self._previous: dict[int, Any] = {}

  def __enter__(self) -> "StopSignal":
    if jax.process_count() == 1:
      for number in (signal.SIGTERM, signal.SIGINT):
        try:
          self._previous[number] = signal.signal(number, self._receive)
        except ValueError:  # Not the main thread: nothing to catch there.
          break
    return self

  def _receive(self, number: int, frame: types.FrameType | None) -> None:
    del frame
    logging.warning("signal %d: saving and stopping", number)
    self._received = True
    signal.signal(signal.SIGINT, signal.default_int_handler)

  def received(self, step: int) -> bool:
    """Whether to stop after `step`, the same on every host."""
    if jax.process_count() == 1:
      return self._received
    # The hosts agree on one step, which a call of several may have passed: they
    # are asked for each.
    first = step if self._asked_until is None else self._asked_until + 1
    self._asked_until = step
    return any(
      multihost_utils.reached_preemption_sync_point(each)
      for each in range(first, step + 1)
    )

  def __exit__(self, *exc: object) -> None:
    for number, handler in self._previous.items():
      signal.signal(number, handler)
