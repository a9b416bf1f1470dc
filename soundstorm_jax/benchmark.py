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
import pathlib
import sys
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from soundstorm_jax.benchmarking import clock
from soundstorm_jax.benchmarking.measure import (
  DURATIONS,
  LONG_DURATIONS,
  Settings,
  machine,
  make_systems,
  measure_shape,
  shapes,
)
from soundstorm_jax.benchmarking.plot import write_plot
from soundstorm_jax.benchmarking.report import PLOT, Report, write_json
from soundstorm_jax.benchmarking.sizes import SIZES, random_codec, with_dtype
from soundstorm_jax.benchmarking.systems import SYSTEMS
from soundstorm_jax.config import listed, listed_names


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
