"""A short training run that is stopped on the way and taken up again.

By the program itself, `python -m soundstorm_jax.train`, as a user would; the
stop is the signal that a machine about to be taken away gets.
"""

import os
import pathlib
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from tensorboard.backend.event_processing import event_accumulator
from tensorboard.util import tensor_util

_ROOT = pathlib.Path(__file__).parents[2]
_STEP = re.compile(r"step (\d+)/\d+ ")
_RESUMED = re.compile(r"continuing after step (\d+)")
# absl's log lines and the notes of native libraries.
_NOISE = re.compile(r"[IWEF]\d{4} |WARNING: All log messages")


class Point(NamedTuple):
  """A mean over the steps since the last point, in nats."""

  step: int
  loss: float


class Run(NamedTuple):
  """A finished run.

  Attributes:
    train: loss on the training speech.
    held_out: loss on the other speakers, of the averaged parameters.
    resumed_after: the step at which it had been stopped.
    lines: what the program printed.
  """

  train: list[Point]
  held_out: list[Point]
  resumed_after: int
  lines: list[str]


def train_twice(
  tokens: str | pathlib.Path,
  workdir: str | pathlib.Path,
  *,
  steps: int,
  sizes: Mapping[str, int],
) -> Run:
  """Trains configs/tiny.py, stops it halfway, and resumes it to the end.

  Args:
    tokens: a token dataset.
    workdir: of the run; also keeps what the program printed, in log.txt.
    steps: of the whole run.
    sizes: fields of `config.system.model` that the tokens determine.

  Raises:
    RuntimeError: the program failed, did not resume, or the loss did not fall.
  """
  workdir = pathlib.Path(workdir).absolute()
  workdir.mkdir(parents=True, exist_ok=True)
  command = [
    *(sys.executable, "-m", "soundstorm_jax.train"),
    f"--config={_ROOT / 'configs' / 'tiny.py'}:{steps}",
    f"--workdir={workdir}",
    f"--config.data.path={pathlib.Path(tokens).absolute()}",
    f"--config.log_every={max(1, steps // 16)}",
    *(f"--config.system.model.{key}={value}" for key, value in sizes.items()),
  ]
  # The second start finds what the first one compiled.
  cache = {"JAX_COMPILATION_CACHE_DIR": str(workdir / "compiled")}

  def halfway(line: str) -> bool:
    found = _STEP.match(line)
    return bool(found) and 2 * int(found[1]) >= steps

  lines = _run(command, cache, stop_after=halfway)
  lines += _run(command, cache, stop_after=None)
  (workdir / "log.txt").write_text("\n".join(lines) + "\n", "utf-8")
  resumed = [int(m[1]) for line in lines if (m := _RESUMED.match(line))]
  if len(resumed) != 1 or not 0 < resumed[0] <= steps:
    raise RuntimeError(f"not stopped and resumed once; see {workdir}/log.txt")
  run = Run(*read_losses(workdir), resumed[0], lines)
  first, last = run.train[0], run.train[-1]
  if last.step != steps or not last.loss < first.loss:
    raise RuntimeError(
      f"the loss must fall over {steps} steps, went from {first.loss:.3f} to "
      f"{last.loss:.3f} at step {last.step}"
    )
  return run


def _run(
  command: Sequence[str],
  environment: Mapping[str, str],
  *,
  stop_after: Callable[[str], bool] | None,
) -> list[str]:
  """Passes on what a program prints; tells it to stop after a certain line."""
  process = subprocess.Popen(
    command,
    cwd=_ROOT,
    env={**os.environ, **environment},
    stderr=subprocess.PIPE,
    text=True,
  )
  lines = []
  with process:
    for line in process.stderr or ():
      line = line.rstrip()
      lines.append(line)
      if not _NOISE.match(line):
        print(line, file=sys.stderr, flush=True)
      if stop_after is not None and stop_after(line):
        print("stopping it on purpose", file=sys.stderr, flush=True)
        process.send_signal(signal.SIGTERM)
        stop_after = None
  if process.returncode:
    raise RuntimeError(
      f"training ended with status {process.returncode}:\n"
      + "\n".join(lines[-20:])
    )
  return lines


def read_losses(
  workdir: str | pathlib.Path,
) -> tuple[list[Point], list[Point]]:
  """The losses of a run from its TensorBoard files: training, held out."""
  events = event_accumulator.EventAccumulator(
    str(workdir), size_guidance={event_accumulator.TENSORS: 0}
  ).Reload()

  def read(tag: str) -> list[Point]:
    if tag not in events.Tags()["tensors"]:
      return []
    return [
      Point(e.step, float(tensor_util.make_ndarray(e.tensor_proto)))
      for e in events.Tensors(tag)
    ]

  return read("train/loss"), read("eval/loss")
