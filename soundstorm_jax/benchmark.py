"""SoundStorm against AudioLM's acoustic stages: time, memory and FLOPs.

  python -m soundstorm_jax.benchmark --size=small --output=benchmark_output

On one device, with one codec, the same semantic tokens and dtype, in one run:
SoundStorm (arXiv 2305.09636, section 2.3: 16 passes at the first level, one at
each other) and the stages that its paper compares it with (AudioLM, arXiv
2209.03143, section III-D), these in two forms: as published, the fine stage
chunk after chunk, and with all chunks at once. Each is one compiled call, as
`generate` makes it. The weights are random: they take as long as trained ones.

The tables are printed. The folder gets report.json, with every run, and
plot.png. An autoregressive run that would take longer than --limit_seconds is
not made: some of its steps are timed at every length that their cache has, the
rest is multiplied, and the row is marked.

Works on CPU, GPU and TPU, on jax's first device. --size=paper is for the last
two: on CPU it takes hours.
"""

import argparse
import dataclasses
import math
import os
import pathlib
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from soundstorm_jax.arguments import listed, listed_names
from soundstorm_jax.benchmarking import clock
from soundstorm_jax.benchmarking.extrapolation import StageClock
from soundstorm_jax.benchmarking.plot import write_plot
from soundstorm_jax.benchmarking.report import (
  PLOT,
  Decoding,
  Report,
  Row,
  make_row,
  write_json,
)
from soundstorm_jax.benchmarking.sizes import (
  SIZES,
  Size,
  random_codec,
  random_soundstorm,
  random_stage,
  with_dtype,
)
from soundstorm_jax.benchmarking.systems import (
  AUDIOLM,
  BATCHED,
  SOUNDSTORM,
  SYSTEMS,
  AudioLMSystem,
  SoundStormSystem,
  make_inputs,
)
from soundstorm_jax.config_base import at_least, check_dtype
from soundstorm_jax.models.codec import Codec

# The program, and the names that other programs take from here.
__all__ = ["SIZES", "Settings", "Size", "main", "measure", "random_soundstorm"]

DURATIONS = (1.0, 3.0, 5.0, 10.0, 20.0, 30.0)
LONG_DURATIONS = (60.0, 120.0)
# An hour: more is a slip of the finger.
LONGEST = 3600.0


@dataclasses.dataclass(frozen=True)
class Settings:
  """What to measure.

  Attributes:
    size: one of `SIZES`.
    seconds: of each utterance, for all systems.
    long_seconds: more of them, for SoundStorm alone.
    batch_sizes: utterances generated at once.
    dtype: that the networks compute in; the codec has its own.
    repeats: counted runs, after one that is not.
    limit_seconds: a run of AudioLM that would take longer is extrapolated; one
      of SoundStorm that does is not repeated.
    steps: that are timed at each length of AudioLM's caches.
    systems: of `SYSTEMS`.

  Raises:
    ValueError: a value is out of its range.
  """

  size: str = "small"
  seconds: tuple[float, ...] = DURATIONS
  long_seconds: tuple[float, ...] = LONG_DURATIONS
  batch_sizes: tuple[int, ...] = (1,)
  dtype: str = "float32"
  repeats: int = 3
  limit_seconds: float = 60.0
  steps: int = 32
  systems: tuple[str, ...] = tuple(SYSTEMS)

  def __post_init__(self):
    if self.size not in SIZES:
      raise ValueError(f"size must be of {list(SIZES)}, got {self.size!r}")
    frame = 1 / SIZES[self.size].codec.frame_rate
    for value in (*self.seconds, *self.long_seconds):
      if not frame <= value <= LONGEST:
        raise ValueError(
          f"seconds must be from {frame:g}, a frame, to {LONGEST:g}, got "
          f"{value:g}"
        )
    for value in self.batch_sizes:
      at_least("batch_sizes", value, 1)
    for name in ("seconds", "batch_sizes", "systems"):
      if not getattr(self, name):
        raise ValueError(f"{name} must name at least one, got none")
    check_dtype(self.dtype)
    at_least("repeats", self.repeats, 1)
    at_least("steps", self.steps, 2)
    if not (self.limit_seconds >= 0 and math.isfinite(self.limit_seconds)):
      raise ValueError(
        f"limit_seconds must be at least 0, got {self.limit_seconds:g}"
      )
    for name in self.systems:
      if name not in SYSTEMS:
        raise ValueError(f"systems must be of {list(SYSTEMS)}, got {name!r}")


def measure(
  settings: Settings, *, say: Callable[[str], None] = print
) -> Iterator[Report]:
  """Measures shape after shape; yields what is known after each.

  Args:
    settings: see the class.
    say: is told of each row.
  """
  size = with_dtype(SIZES[settings.size], settings.dtype)
  rng = np.random.default_rng(0)
  codec = random_codec(size.codec, rng=rng)
  systems = make_systems(settings, size, rng=rng)
  report = Report(
    settings=dataclasses.asdict(settings),
    machine=machine(),
    parameters={name: system.parameters for name, system in systems.items()},
    peak=clock.matmul_peak(settings.dtype),
    rows=[],
  )
  for batch_size, seconds, names in shapes(settings):
    rows = measure_shape(
      {name: systems[name] for name in names},
      codec,
      size,
      settings=settings,
      peak=report.peak,
      seconds=seconds,
      batch_size=batch_size,
    )
    for row in rows:
      how = "extrapolated" if row.extrapolated else "measured"
      say(
        f"{SYSTEMS[row.system]}, {row.seconds:g} s x {row.batch_size}: "
        f"{row.sample_s:.3f} s ({how})"
      )
    report = report._replace(rows=[*report.rows, *rows])
    yield report


def shapes(settings: Settings) -> Iterator[tuple[int, float, list[str]]]:
  """Batch sizes, durations, and the systems to be measured there."""
  for batch_size in settings.batch_sizes:
    for seconds in sorted({*settings.seconds, *settings.long_seconds}):
      names = [
        name
        for name in settings.systems
        if seconds in settings.seconds or name == SOUNDSTORM
      ]
      if names:
        yield batch_size, seconds, names


def make_systems(
  settings: Settings, size: Size, *, rng: np.random.Generator
) -> dict[str, SoundStormSystem | AudioLMSystem]:
  """The systems that are asked for; both forms of AudioLM share the weights."""
  systems: dict[str, Any] = {}
  if SOUNDSTORM in settings.systems:
    params = random_soundstorm(size.model, rng=rng)
    systems[SOUNDSTORM] = SoundStormSystem(size.model, params)
  forms = [name for name in (AUDIOLM, BATCHED) if name in settings.systems]
  if forms:
    params = {
      stage: random_stage(getattr(size.audiolm, stage), rng=rng)
      for stage in ("coarse", "fine")
    }
    steps = StageClock(params, steps=settings.steps, repeats=settings.repeats)
    for name in forms:
      systems[name] = AudioLMSystem(
        size.audiolm, params, clock=steps, parallel_chunks=name == BATCHED
      )
  return systems


def measure_shape(
  systems: dict[str, SoundStormSystem | AudioLMSystem],
  codec: Codec,
  size: Size,
  *,
  settings: Settings,
  peak: clock.Peak,
  seconds: float,
  batch_size: int,
) -> list[Row]:
  """All systems at one duration and batch size, in turns."""
  frame_rate = size.codec.frame_rate
  frames = round(seconds * frame_rate)
  # The utterance does not depend on what was measured before it.
  inputs = make_inputs(
    size, batch_size=batch_size, frames=frames, rng=np.random.default_rng(0)
  )
  prepared = {name: system.prepare(inputs) for name, system in systems.items()}
  due = {
    name: ready.run
    for name, ready in prepared.items()
    if ready.estimate is None
    or ready.estimate.seconds <= settings.limit_seconds
  }
  limits = {"repeats": settings.repeats, "limit_s": settings.limit_seconds}
  times = clock.time_in_turns(due, **limits)

  levels = size.model.levels
  began = time.perf_counter()
  decode = codec.compile_decode(batch_size, frames=frames, levels=levels)
  compile_s = time.perf_counter() - began
  tokens = jnp.zeros((batch_size, frames, levels), jnp.int32)
  decoding = clock.time_in_turns({"": lambda: decode(tokens)}, **limits)
  return [
    make_row(
      name,
      ready,
      times.get(name),
      decoding=Decoding(compile_s, decoding[""]),
      peak=peak,
      seconds=seconds,
      batch_size=batch_size,
      frames=frames,
      frame_rate=frame_rate,
      levels=levels,
    )
    for name, ready in prepared.items()
  ]


def machine() -> dict[str, Any]:
  """What this runs on."""
  return {
    "platform": jax.devices()[0].platform,
    "device": jax.devices()[0].device_kind,
    "cores": len(os.sched_getaffinity(0))
    if hasattr(os, "sched_getaffinity")
    else os.cpu_count(),
    "jax": jax.__version__,
  }


def parser() -> argparse.ArgumentParser:
  """The program's arguments."""
  summary, _, details = (__doc__ or "").partition("\n")
  result = argparse.ArgumentParser(
    prog="python -m soundstorm_jax.benchmark",
    description=summary,
    epilog=details,
    formatter_class=argparse.RawDescriptionHelpFormatter,
  )
  add, default = result.add_argument, Settings()
  numbers = {"metavar": "N,N,..."}
  add("--size", default=default.size, help=", ".join(SIZES))
  add(
    "--seconds",
    type=listed(float),
    help="of each utterance; if not given, 1,3,5,10,20,30, and 60,120 for "
    "SoundStorm alone",
    **numbers,
  )
  add(
    "--long_seconds",
    type=listed(float),
    help="more of them, for SoundStorm alone",
    **numbers,
  )
  add(
    "--batch_sizes",
    type=listed(int),
    default=default.batch_sizes,
    help="utterances at once",
    **numbers,
  )
  add("--dtype", default=default.dtype, help="float32 or bfloat16")
  add("--repeats", type=int, default=default.repeats, help="medians are shown")
  add(
    "--limit_seconds",
    type=float,
    default=default.limit_seconds,
    help="extrapolate autoregressive runs that would take longer",
  )
  add(
    "--steps",
    type=int,
    default=default.steps,
    help="to time at each length of AudioLM's caches",
  )
  add(
    "--systems",
    type=listed_names,
    default=default.systems,
    help=",".join(SYSTEMS),
    metavar="NAME,NAME,...",
  )
  add("--output", default="benchmark_output", help="folder")
  return result


def parse(argv: Sequence[str] | None) -> tuple[Settings, pathlib.Path]:
  """The settings, and where the report goes; leaves if they make no sense."""
  program = parser()
  values = vars(program.parse_args(argv))
  output = pathlib.Path(values.pop("output"))
  if values["seconds"] is None:
    values["seconds"] = DURATIONS
    if values["long_seconds"] is None:
      values["long_seconds"] = LONG_DURATIONS
  values["long_seconds"] = values["long_seconds"] or ()
  try:
    return Settings(**values), output
  except ValueError as error:
    program.error(str(error))


def main(argv: Sequence[str] | None = None) -> None:
  """The program."""
  settings, output = parse(argv)
  output.mkdir(parents=True, exist_ok=True)
  # What is known is kept, should a later row not fit into memory.
  for report in measure(settings, say=lambda x: print(x, file=sys.stderr)):
    write_json(report, output)
  write_plot(report, output / PLOT)
  print(report.to_text())
  print(f"\n{output}/ has all runs as JSON, and a plot")


if __name__ == "__main__":
  main()
