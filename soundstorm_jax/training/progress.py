"""What a run tells about itself: TensorBoard scalars and a line on stderr."""

import contextlib
import sys
import time
from collections.abc import Iterator

import jax
import numpy as np

from soundstorm_jax.config import TrainConfig
from soundstorm_jax.training.feed import Done
from soundstorm_jax.training.metrics import Metrics, add, means
from soundstorm_jax.training.optimizer import learning_rate
from soundstorm_jax.training.task import CountsFlops, Task
from soundstorm_jax.training.writer import MetricWriter

# Peak dense bfloat16 FLOP/s of one chip, from the vendors' data sheets; the
# share of it that is used (MFU) is reported only on these.
_PEAK_FLOPS = {
  "TPU v4": 275e12,
  "TPU v5 lite": 197e12,
  "TPU v5": 459e12,
  "TPU v6 lite": 918e12,
  "NVIDIA A100": 312e12,
  "NVIDIA H100": 989e12,
  "NVIDIA H200": 989e12,
}


def peak_flops(device_kind: str) -> float | None:
  """Peak FLOP/s of a device by its name; None if it is not in the table."""
  matches = [name for name in _PEAK_FLOPS if device_kind.startswith(name)]
  return _PEAK_FLOPS[max(matches, key=len)] if matches else None


class Progress:
  """Gathers the metrics of steps and reports every `log_every` of them.

  Attributes:
    last: the means of the last report, by name.
  """

  def __init__(
    self,
    config: TrainConfig,
    *,
    task: Task,
    writer: MetricWriter,
  ):
    self._config = config
    self._writer = writer
    self._task = task
    self._schedule = learning_rate(config.optimizer, config.steps)
    self._peak = peak_flops(jax.devices()[0].device_kind)
    self._skipped_in_a_row = 0
    self._window_frames = 0
    self._first = True
    self.last: dict[str, float] = {}
    self._reset()

  def _reset(self) -> None:
    self._metrics: Metrics = {}
    self._restart_clock()

  def _restart_clock(self) -> None:
    self._steps = 0
    self._frames = 0
    self._waited = 0.0
    self._paused = 0.0
    self._since = time.perf_counter()

  def waited(self, seconds: float) -> None:
    """Counts time spent on waiting for data."""
    self._waited += seconds

  @contextlib.contextmanager
  def paused(self) -> Iterator[None]:
    """Leaves evaluation out of the speed."""
    began = time.perf_counter()
    yield
    self._paused += time.perf_counter() - began

  def record(self, step: int, done: Done) -> None:
    """Takes in the steps of one call; waits until they are computed.

    Args:
      step: the last of them.
      done: what they leave.

    Raises:
      FloatingPointError: too many steps in a row were not finite.
    """
    done = jax.device_get(done)
    self._metrics = add(self._metrics, done.metrics)
    self._window_frames = done.window
    if self._first:
      # The first call holds the compilation: speed is measured after it.
      self._first = False
      seconds = time.perf_counter() - self._since
      tell(f"first step after {seconds:.1f} s, compilation included")
      self._restart_clock()
    else:
      self._steps += done.steps
      self._frames += int(done.frames)
    skipped = np.ravel(done.skipped)[: done.steps]
    for each, flag in enumerate(skipped, step - done.steps + 1):
      self._count_skipped(each, is_skipped=bool(flag))
    if step % self._config.log_every == 0 or step == self._config.steps:
      self._report(step)

  def _count_skipped(self, step: int, *, is_skipped: bool) -> None:
    if not is_skipped:
      self._skipped_in_a_row = 0
      return
    self._skipped_in_a_row += 1
    tell(f"step {step} skipped: loss or gradient norm is not finite")
    limit = self._config.max_skipped_in_a_row
    if self._skipped_in_a_row >= limit:
      raise FloatingPointError(
        f"{limit} steps in a row, up to step {step}, were not finite"
      )

  def _report(self, step: int) -> None:
    scalars = means(self._metrics)
    scalars["skipped"] = float(self._metrics["skipped"].total)
    scalars["learning_rate"] = float(self._schedule(step - 1))
    speed = self._speed()
    self._writer.write_scalars(
      step,
      {f"train/{name}": value for name, value in scalars.items()}
      | {f"speed/{name}": value for name, value in speed.items()},
    )
    parts = [
      f"step {step}/{self._config.steps}",
      f"loss {scalars.get('loss', float('nan')):.4f}",
    ]
    if speed:
      rate = speed["frames_per_second_per_chip"] * jax.device_count()
      left = (self._config.steps - step) / speed["steps_per_second"]
      parts += [
        f"{rate:,.0f} frames/s",
        f"{_clock(left)} left",
        f"data wait {speed['data_wait']:.0%}",
      ]
    if "mfu" in speed:
      parts.append(f"mfu {speed['mfu']:.1%}")
    if scalars["skipped"]:
      parts.append(f"skipped {scalars['skipped']:.0f}")
    tell("  ".join(parts))
    self.last = scalars | speed
    self._reset()

  def _speed(self) -> dict[str, float]:
    if not self._steps:
      return {}
    seconds = time.perf_counter() - self._since - self._paused
    frames = self._frames / seconds / jax.device_count()
    speed = {
      "steps_per_second": self._steps / seconds,
      "frames_per_second_per_chip": frames,
      "data_wait": self._waited / seconds,
    }
    if self._peak and isinstance(self._task, CountsFlops):
      work = self._task.flops_per_frame(self._window_frames)
      speed["mfu"] = frames * work / self._peak
    return speed


def tell(text: str) -> None:
  """Writes a line to stderr, on the first host alone."""
  if jax.process_index() == 0:
    print(text, file=sys.stderr, flush=True)


def _clock(seconds: float) -> str:
  minutes, seconds = divmod(round(seconds), 60)
  hours, minutes = divmod(minutes, 60)
  return f"{hours}:{minutes:02d}:{seconds:02d}"
