"""Trains the codec, the semantic tokenizer, SoundStorm or AudioLM.

  python -m soundstorm_jax.train --config=configs/small.py --workdir=runs/small
  python -m soundstorm_jax.train --config=configs/librilight.py \\
    --workdir=gs://bucket/run --config.optimizer.lr=1e-4 --distributed

Run it again with the same workdir and it goes on from the last checkpoint,
bit for bit as if it had not been interrupted. TensorBoard reads the workdir.
"""

import contextlib
import pathlib
import time
from typing import Any, NamedTuple

import jax
from absl import app, flags, logging
from jax.sharding import Mesh
from ml_collections import config_flags

from soundstorm_jax.config import TrainConfig, from_mapping
from soundstorm_jax.parallel.mesh import (
  batch_shards,
  make_mesh,
  shard_batch,
  use_mesh,
)
from soundstorm_jax.training import keys
from soundstorm_jax.training.checkpoint import Checkpoints, StopSignal
from soundstorm_jax.training.feed import Done, OnDevice, Source, make_feed
from soundstorm_jax.training.metrics import add, means
from soundstorm_jax.training.progress import Progress, tell
from soundstorm_jax.training.state import abstract_state, init_state
from soundstorm_jax.training.step import compile_eval_step
from soundstorm_jax.training.task import StartsFromData, Task
from soundstorm_jax.training.writer import (
  MetricWriter,
  SilentWriter,
  TensorBoardWriter,
)


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


def build_task(config: TrainConfig) -> Task:
  """The model that a config trains."""
  if config.task == "soundstorm":
    from soundstorm_jax.training.soundstorm_task import SoundStormTask

    return SoundStormTask(config)
  if config.task == "audiolm":
    from soundstorm_jax.training.audiolm_task import AudioLMTask

    return AudioLMTask(config)
  if config.task == "soundstream":
    from soundstorm_jax.training.soundstream_task import SoundStreamTask

    return SoundStreamTask(config)
  if config.task == "semantic_encoder":
    from soundstorm_jax.training.semantic_task import SemanticTask

    return SemanticTask(config)
  if config.task == "semantic_tokens":
    from soundstorm_jax.training.semantic_tokens_task import SemanticTokensTask

    return SemanticTokensTask(config)
  raise ValueError(f"task {config.task!r} is not trained step by step")


def build_source(config: TrainConfig) -> Source | OnDevice:
  """The data that a config trains on, this host's share of it.

  TensorFlow is imported for batches of the host alone.

  Raises:
    ValueError: see the sources, or the data do not fit the model or the task.
  """
  share = {
    "batch_size": config.batch_size,
    "process_index": jax.process_index(),
    "process_count": jax.process_count(),
  }
  if config.task in ("soundstorm", "audiolm"):
    if config.data.on_device:
      from soundstorm_jax.data.packed_source import PackedTokenSource

      source = PackedTokenSource(config.data, **share)
    else:
      from soundstorm_jax.data.tokens import TokenSource

      source = TokenSource(config.data, seed=config.seed, **share)
    _check_sizes(config, source.metadata)
    if config.task == "audiolm":
      _check_window(config, source.frames)
    return source
  share["seed"] = config.seed
  if config.task == "soundstream":
    if config.data.on_device:
      from soundstorm_jax.data.audio_strip import AudioStrip as AudioSource
    else:
      from soundstorm_jax.data.audio import AudioSource

    return AudioSource(config.data, config.soundstream.sample_rate, **share)
  if config.task in ("semantic_encoder", "semantic_tokens"):
    if config.data.on_device:
      raise ValueError(f"task {config.task!r} takes no data.on_device")
    from soundstorm_jax.data.phone_audio import PhoneAudioSource

    return PhoneAudioSource(
      config.data,
      config.semantic_encoder.sample_rate,
      phones_file=config.semantic_training.phones,
      **share,
    )
  raise ValueError(f"task {config.task!r} is not trained step by step")


def _check_sizes(config: TrainConfig, tokens: Any) -> None:
  """Ids beyond an embedding would be read as its last row, silently."""
  model = getattr(config, config.task)
  for name in ("levels", "codes", "semantic_vocab"):
    has, takes = getattr(tokens, name), getattr(model, name)
    if has != takes:
      raise ValueError(
        f"{config.data.path} has {name} {has}, {config.task}.{name} is {takes}"
      )


def _check_window(config: TrainConfig, frames: int) -> None:
  limit = config.audiolm.window_frames
  if frames > limit:
    raise ValueError(
      f"data.window_seconds must be at most audiolm.window_frames, {limit}, "
      f"got {frames} frames"
    )


def train(
  config: TrainConfig,
  workdir: str | pathlib.Path,
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
    ValueError: the mesh does not fit the devices or the batch, or the workdir
      holds another run.
    FloatingPointError: too many steps in a row were not finite.
  """
  mesh = make_mesh(config.mesh)
  shards = batch_shards(mesh) * config.optimizer.accumulate
  if config.batch_size % shards:
    raise ValueError(
      f"batch_size must be a multiple of {shards} (data * fsdp * accumulate), "
      f"got {config.batch_size}"
    )
  task = build_task(config) if task is None else task
  source = build_source(config) if source is None else source
  with contextlib.ExitStack() as stack:
    stack.enter_context(use_mesh(mesh))
    stop = stack.enter_context(StopSignal())
    writer = _make_writer(workdir)
    stack.callback(writer.close)
    checkpoints = Checkpoints(workdir, config=config)
    stack.callback(checkpoints.close)
    return _Run(config, task, source, mesh, writer, checkpoints, stop).train()


def _make_writer(workdir: str | pathlib.Path) -> MetricWriter:
  """TensorBoard files, written by the first host alone."""
  if jax.process_index() > 0:
    return SilentWriter()
  return TensorBoardWriter(workdir)


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


class _Late(NamedTuple):
  """Steps up to one, whose metrics have not been read yet."""

  step: int
  done: Done


class _Run:
  """One process's part of a run: compiled steps, data, and where logs go."""

  def __init__(
    self,
    config: TrainConfig,
    task: Task,
    source: Source | OnDevice,
    mesh: Mesh,
    writer: MetricWriter,
    checkpoints: Checkpoints,
    stop: StopSignal,
  ):
    self.config = config
    self.task = task
    self.source = source
    self.mesh = mesh
    self.writer = writer
    self.checkpoints = checkpoints
    self.stop = stop
    self.target = abstract_state(task.init_state, mesh)
    self.feed = make_feed(source, task, self.target, config=config, mesh=mesh)
    self.eval_step = compile_eval_step(task, self.target, mesh=mesh)
    self.eval_key = keys.stream(config.seed, name="eval")

  def train(self) -> Result:
    """The loop: evaluate, save, next batch, step (or several, on device)."""
    config = self.config

    # ---------------------------------------------------------------- State
    restored = self.checkpoints.restore(self.target)
    if restored is None:
      init_key = keys.stream(config.seed, name="init")
      state = init_state(self.task.init_state, init_key, mesh=self.mesh)
      if isinstance(self.task, StartsFromData):
        state = self.start_from_data(state)
    else:
      state = restored.state
      tell(f"continuing after step {restored.step}")
    start = step = restored.step if restored else 0

    # ----------------------------------------------------------------- Loop
    train_key = keys.stream(config.seed, name="train")
    data = self.feed.data(start)
    progress = Progress(config, task=self.task, writer=self.writer)
    # Metrics are read a step late, so that the device never waits for the host.
    late: _Late | None = None
    eval_metrics: dict[str, float] = {}
    while True:
      finished = step >= config.steps
      stopping = not finished and self.stop.received(step)
      if late and (finished or stopping):
        progress.record(late.step, late.done)
      if step > start:
        with progress.paused():
          if not stopping and (finished or step % config.eval_every == 0):
            eval_metrics = self.evaluate(state, step)
          if not stopping and _is_due(step, every=config.sample_every):
            self.write_samples(state, step)
        self.checkpoints.save(step, state, force=finished or stopping)
      if finished or stopping:
        break

      began = time.perf_counter()
      part = next(data)
      progress.waited(time.perf_counter() - began)
      steps = min(self.feed.most_steps, _until_due(step, config))
      state, done = self.feed.advance(state, part, train_key, steps=steps)
      step += steps
      if late:
        progress.record(late.step, late.done)
      late = _Late(step, done)
    self.writer.flush()
    return Result(step, progress.last, eval_metrics)

  def start_from_data(self, state: Any) -> Any:
    """The task's own start, laid out over the mesh like the state it had."""
    key = keys.stream(self.config.seed, name="start")
    state = self.task.start_from_data(state, self.feed.batches(), key)
    shardings = jax.tree.map(lambda leaf: leaf.sharding, self.target)
    return jax.device_put(state, shardings)

  def evaluate(self, state: Any, step: int) -> dict[str, float]:
    """Means over the held-out batches, written under "eval/"."""
    total: dict = {}
    for index, rows in enumerate(self.source.eval_batches()):
      metrics = self.eval_step(
        state,
        shard_batch(rows, self.mesh),
        jax.random.fold_in(self.eval_key, index),
      )
      total = add(total, jax.device_get(metrics))
    result = means(total)
    if result:
      self.writer.write_scalars(
        step, {f"eval/{name}": value for name, value in result.items()}
      )
      parts = [f"{name} {value:.4g}" for name, value in result.items()]
      tell("  ".join([f"step {step} held out:", *parts]))
    return result

  def write_samples(self, state: Any, step: int) -> None:
    """Lets the task write something to listen to, from held-out data."""
    for rows in self.source.eval_batches():
      batch = shard_batch(rows, self.mesh)
      self.task.write_samples(state, batch, writer=self.writer, step=step)
      break


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
  config = from_mapping(TrainConfig, _CONFIG.value.to_dict())
  if config.task == "kmeans":
    from soundstorm_jax.tokenizers.fit import fit

    fit(config, _WORKDIR.value)
  else:
    train(config, _WORKDIR.value)


if __name__ == "__main__":
  flags.mark_flags_as_required(["config", "workdir"])
  app.run(main)
