"""Trains the codec, the semantic tokenizer, SoundStorm or AudioLM.

  python -m soundstorm_jax.train --config=configs/small.py --workdir=runs/small
  python -m soundstorm_jax.train --config=configs/librilight.py \\
    --workdir=gs://bucket/run --config.optimizer.lr=1e-4 --distributed

Run it again with the same workdir and it goes on from the last checkpoint,
bit for bit as if it had not been interrupted. TensorBoard reads the workdir.
"""

import contextlib
import dataclasses
import os
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
from absl import app, flags, logging
from ml_collections import config_flags

from soundstorm_jax.audiolm import task as audiolm_task
from soundstorm_jax.config import TrainConfig, from_mapping
from soundstorm_jax.parallel.mesh import batch_shards, make_mesh, use_mesh
from soundstorm_jax.semantic import encoder_task, fit, tokens_task
from soundstorm_jax.soundstorm import task as soundstorm_task
from soundstorm_jax.soundstream import task as soundstream_task
from soundstorm_jax.training import keys
from soundstorm_jax.training.checkpoint import Checkpoints, StopSignal
from soundstorm_jax.training.feed import Done, OnDevice, Source, make_feed
from soundstorm_jax.training.held_out import HeldOut
from soundstorm_jax.training.progress import Progress, tell
from soundstorm_jax.training.state import abstract_state, begin
from soundstorm_jax.training.system import Fitted, Share, System
from soundstorm_jax.training.task import Task
from soundstorm_jax.training.writer import make_writer

# What `config.task` names; `config.system` has that system's settings.
SYSTEMS: Mapping[str, System | Fitted] = {
  "soundstorm": soundstorm_task.SYSTEM,
  "audiolm": audiolm_task.SYSTEM,
  "soundstream": soundstream_task.SYSTEM,
  "semantic_encoder": encoder_task.SYSTEM,
  "semantic_tokens": tokens_task.SYSTEM,
  "kmeans": fit.SYSTEM,
}


class Result(NamedTuple):
  """How a run ended.

  Attributes:
    step: completed steps, fewer than asked for if it was told to stop.
    metrics: means over the last logging interval, by name.
    eval_metrics: the last evaluation, by name; empty if there was none.
  """

  step: int
  metrics: dict[str, float]
  eval_metrics: dict[str, float]


def read_config(values: Mapping[str, Any]) -> TrainConfig:
  """A run's settings from plain values, those of its system included.

  Raises:
    ValueError: there is no such task, a key is unknown, or a value is of
      another type or out of range.
  """
  config = from_mapping(TrainConfig, values)
  if config.task not in SYSTEMS:
    raise ValueError(
      f"task must be one of {', '.join(SYSTEMS)}, got {config.task!r}"
    )
  settings = from_mapping(SYSTEMS[config.task].settings, config.system or {})
  return dataclasses.replace(config, system=settings)


def train(
  config: TrainConfig,
  workdir: str | os.PathLike[str],
  *,
  task: Task | None = None,
  source: Source | OnDevice | None = None,
) -> Result:
  """Trains from the last checkpoint in `workdir`, or from the beginning.

  Args:
    config: everything about the run.
    workdir: checkpoints and TensorBoard files go there.
    task: the model, if not the one that `config.task` names.
    source: the data, likewise.

  Raises:
    ValueError: the mesh does not fit the devices or the batch, the data do not
      fit the model, or the workdir holds another run.
    FloatingPointError: too many steps in a row were not finite.
  """
  # -------------------------------------------------------------------- Parts
  mesh = make_mesh(config.mesh)
  shards = batch_shards(mesh) * config.optimizer.accumulate
  if config.batch_size % shards:
    raise ValueError(
      f"batch_size must be a multiple of {shards} (data * fsdp * accumulate), "
      f"got {config.batch_size}"
    )
  if task is None:
    task = SYSTEMS[config.task].make_task(config)
  if source is None:
    share = Share(config.batch_size, jax.process_index(), jax.process_count())
    source = SYSTEMS[config.task].make_source(config, share)
  with contextlib.ExitStack() as stack:
    stack.enter_context(use_mesh(mesh))
    stop = stack.enter_context(StopSignal())
    writer = make_writer(workdir)
    stack.callback(writer.close)
    checkpoints = Checkpoints(workdir, config=config)
    stack.callback(checkpoints.close)
    target = abstract_state(task.init_state, mesh)
    feed = make_feed(source, task, target, config=config, mesh=mesh)
    held_out = HeldOut(
      task, source, target, config=config, mesh=mesh, writer=writer
    )

    # ------------------------------------------------------------------ State
    restored = checkpoints.restore(target)
    if restored is None:
      start = 0
      state = begin(task, target, feed.batches, seed=config.seed, mesh=mesh)
    else:
      start, state = restored.step, restored.state
      tell(f"continuing after step {start}")

    # ------------------------------------------------------------------- Loop
    step = start
    train_key = keys.stream(config.seed, name="train")
    data = feed.data(start)
    progress = Progress(config, task=task, writer=writer)
    # Metrics are read a step late, so that the device never waits for the host.
    late: _Late | None = None
    eval_metrics: dict[str, float] = {}
    while True:
      finished = step >= config.steps
      stopping = not finished and stop.received(step)
      if late and (finished or stopping):
        progress.record(late.step, late.done)
      if step > start:
        with progress.paused():
          if not stopping and (finished or step % config.eval_every == 0):
            eval_metrics = held_out.evaluate(state, step=step)
          if not stopping and _is_due(step, every=config.sample_every):
            held_out.write_samples(state, step=step)
        checkpoints.save(step, state, force=finished or stopping)
      if finished or stopping:
        break

      began = time.perf_counter()
      part = next(data)
      progress.waited(time.perf_counter() - began)
      steps = min(feed.most_steps, _until_due(step, config))
      state, done = feed.advance(state, part, train_key, steps=steps)
      step += steps
      if late:
        progress.record(late.step, late.done)
      late = _Late(step, done)
    writer.flush()
    return Result(step, progress.last, eval_metrics)


class _Late(NamedTuple):
  """Steps up to one, whose metrics have not been read yet."""

  step: int
  done: Done


def _is_due(step: int, *, every: int) -> bool:
  return every > 0 and step % every == 0


def _until_due(step: int, config: TrainConfig) -> int:
  """Steps from one to the next after which something is to be done."""
  every = [
    config.log_every,
    config.eval_every,
    config.save_every,
    config.sample_every,
  ]
  return min(config.steps - step, *(n - step % n for n in every if n > 0))


_CONFIG = config_flags.DEFINE_config_file(
  "config", help_string="A file with get_config(arg); FILE:arg passes arg."
)
_WORKDIR = flags.DEFINE_string(
  "workdir", None, "Where checkpoints and TensorBoard files go."
)
_DISTRIBUTED = flags.DEFINE_bool(
  "distributed", False, "One of several hosts: wait for the others."
)


def main(argv: list[str]) -> None:
  """Reads the flags and trains."""
  if len(argv) > 1:
    raise app.UsageError(f"unexpected arguments: {' '.join(argv[1:])}")
  if not flags.FLAGS["verbosity"].present:
    # Orbax tells its whole life at INFO; progress does not go through here.
    logging.set_verbosity(logging.WARNING)
  if _DISTRIBUTED.value:
    jax.distributed.initialize()
  config = read_config(_CONFIG.value.to_dict())
  system = SYSTEMS[config.task]
  if isinstance(system, Fitted):
    system.fit(config, _WORKDIR.value)
  else:
    train(config, _WORKDIR.value)


if __name__ == "__main__":
  flags.mark_flags_as_required(["config", "workdir"])
  app.run(main)
