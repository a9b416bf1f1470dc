"""Compiled programs: how long they take, what memory, how many FLOPs.

Each figure says what it is of, since none of the usual ones is what one thinks:

* XLA counts the body of a loop once, however often it runs. So FLOPs are asked
  of programs that hold one pass or one step, and multiplied outside.
* A GPU's compiled program calls libraries for its products, which XLA does not
  look into. Where less than half is left of what was to be compiled, FLOPs are
  those of the program as it was before compilation.
* Peaks of memory are of the process or of the device, not of a program, and a
  device's allocator cannot be told to begin anew. What the compiler set aside
  for a program is exact, and the same everywhere.
"""

import dataclasses
import pathlib
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

# A product this long is measured well enough; larger ones would take memory.
_LONG_PRODUCT_S = 0.1
_SMALLEST_PRODUCT, _LARGEST_PRODUCT = 512, 8192
_PRODUCT_RUNS = 5


@dataclasses.dataclass(frozen=True)
class Program:
  """A compiled function.

  Attributes:
    lowered: what was compiled.
    compiled: to be called with the same arguments.
    compile_s: of tracing, lowering and compilation.
  """

  lowered: Any
  compiled: Any
  compile_s: float

  @property
  def bytes(self) -> int | None:
    """Arguments (parameters are among them), results and temporaries.

    None if the compiler does not tell.
    """
    memory = self.compiled.memory_analysis()
    if memory is None:
      return None
    return (
      memory.argument_size_in_bytes
      + memory.output_size_in_bytes
      + memory.temp_size_in_bytes
      - memory.alias_size_in_bytes
    )

  @property
  def flops(self) -> float:
    """With each loop's body counted once."""
    before, after = (
      float((stage.cost_analysis() or {}).get("flops", 0))
      for stage in (self.lowered, self.compiled)
    )
    return after if after > before / 2 else before


def compile_program(lower: Callable[[], Any]) -> Program:
  """Compiles what a function lowers, and looks at the clock."""
  began = time.perf_counter()
  lowered = lower()
  compiled = lowered.compile()
  return Program(lowered, compiled, time.perf_counter() - began)


class Times(NamedTuple):
  """Runs of a program.

  Attributes:
    runs_s: seconds of each.
    warm: whether another run went before them, not counted.
    peak_process_bytes: the most memory the process had in any of them; None
      where the system does not tell.
    peak_device_bytes: the most the device's allocator has ever handed out, up
      to the end of the last one; None where it does not count.
  """

  runs_s: tuple[float, ...]
  warm: bool
  peak_process_bytes: int | None
  peak_device_bytes: int | None

  @property
  def median_s(self) -> float:
    """Of the runs."""
    return statistics.median(self.runs_s)


def time_in_turns(
  runs: Mapping[str, Callable[[], Any]], *, repeats: int, limit_s: float
) -> dict[str, Times]:
  """Times functions in turns, so that a slow minute is a slow one for all.

  Each runs once before, not counted; if that alone takes more than `limit_s`,
  it is all there is.

  Args:
    runs: by name; their results are waited for.
    repeats: counted runs of each.
    limit_s: of a run.
  """
  seconds: dict[str, list[float]] = {name: [] for name in runs}
  memory: dict[str, list[int]] = {name: [] for name in runs}
  device: dict[str, int | None] = {}
  warm = dict.fromkeys(runs, False)
  for turn in range(repeats + 1):
    for name, run in runs.items():
      if turn and not warm[name]:
        continue
      resettable = _forget_peak()
      took = _time(run)
      peak = _peak_process() if resettable else None
      device[name] = _peak_device()
      if turn == 0 and took <= limit_s:
        warm[name] = True
        continue
      seconds[name].append(took)
      memory[name] += [] if peak is None else [peak]
  return {
    name: Times(
      tuple(seconds[name]), warm[name], max(memory[name], default=None), peak
    )
    for name, peak in device.items()
  }


def _time(run: Callable[[], Any]) -> float:
  began = time.perf_counter()
  jax.block_until_ready(run())
  return time.perf_counter() - began


def _forget_peak() -> bool:
  """Lets the process's peak of memory begin anew; whether that can be done."""
  try:
    # Documented in Linux's proc(5).
    pathlib.Path("/proc/self/clear_refs").write_text("5")
  except OSError:
    return False
  return True


def _peak_process() -> int | None:
  """The most memory this process has had, in bytes."""
  try:
    lines = pathlib.Path("/proc/self/status").read_text("utf-8").splitlines()
  except OSError:
    return None
  found = [line.split()[1] for line in lines if line.startswith("VmHWM:")]
  return 1024 * int(found[0]) if found else None


def _peak_device() -> int | None:
  stats = jax.devices()[0].memory_stats() or {}
  return stats.get("peak_bytes_in_use")


class Peak(NamedTuple):
  """The fastest product of two square matrices that was found.

  Attributes:
    flops_per_s: a multiplication and an addition are two.
    size: of the matrices.
  """

  flops_per_s: float
  size: int


def matmul_peak(dtype: str) -> Peak:
  """Measures the device's products, at jax's default precision.

  Sizes are doubled until a product takes long enough, and the best of all is
  taken: a share of it is then never flattered by a peak that was too low.
  """
  best = Peak(0.0, 0)
  size = _SMALLEST_PRODUCT
  product = jax.jit(jnp.matmul)
  while size <= _LARGEST_PRODUCT:
    # Not of one number: what is all alike can take less power, and be faster.
    keys = jax.random.split(jax.random.key(0))
    left, right = (jax.random.normal(key, (size, size), dtype) for key in keys)
    run = product.lower(left, right).compile()
    times = [
      _time(lambda run=run, left=left, right=right: run(left, right))
      for _ in range(1 + _PRODUCT_RUNS)
    ]
    best = max(best, Peak(2 * size**3 / min(times[1:]), size))
    if min(times) > _LONG_PRODUCT_S:
      break
    size *= 2
  return best
