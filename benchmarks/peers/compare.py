"""Times soundstorm_jax beside soundstorm-pytorch, on this machine's CPU.

  python -m benchmarks.peers.compare --peer_python=.venv-peers/bin/python

Two processes hold a model each, of the same sizes, with random weights. They
take turns: one run of ours, one of theirs, then theirs and ours, and so on, so
what else the machine does meets both. What is reported is the median of the
ratios of neighbouring runs, which is below 1 where ours is faster, and the same
of processor time; on a busy machine ask for one thread and read that.

  matmul      one product of the frames and a feed-forward's matrix: what each
              framework can do at most
  conformer   the Conformer alone: the same mathematics on both sides
  pass        the network as the sampler calls it: ours computes the logits of
              one level, theirs those of all
  generate    all passes, 16 at the first level and one at each other, by each
              one's own sampler

See README.md for the peer's environment. The last line is the same as JSON.
"""

import argparse
import contextlib
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

ROOT = pathlib.Path(__file__).parents[2]
SIDES = ("ours", "theirs")
JOBS = ("matmul", "conformer", "pass", "generate")


class Run(NamedTuple):
  """One run of one side; times in seconds.

  Attributes:
    seconds: it took.
    cpu_s: processor time of its process in it.
    idle_cpu_s: processor time of its process since its run before: near 0, or
      it disturbed the other side.
  """

  seconds: float
  cpu_s: float
  idle_cpu_s: float


class Summary(NamedTuple):
  """One job on both sides; times in seconds.

  Attributes:
    ours_s: the median.
    theirs_s: the median.
    ratio: the median of the pairs' ratios, ours over theirs.
    ratio_low: the least of them.
    ratio_high: the greatest of them.
    cpu_ratio: as `ratio`, of processor time. What else the machine does hardly
      touches it, but with more than one thread it counts waiting at barriers.
    pairs: how many.
    idle_cpu_share: processor time used by the side whose turn it was not, over
      the time of all runs.
  """

  ours_s: float
  theirs_s: float
  ratio: float
  ratio_low: float
  ratio_high: float
  cpu_ratio: float
  pairs: int
  idle_cpu_share: float


def turns(repeats: int) -> Iterator[tuple[int, str]]:
  """The order of the runs, as (pair, side): every other pair is reversed.

  Raises:
    ValueError: `repeats` is below 1.
  """
  if repeats < 1:
    raise ValueError(f"repeats must be at least 1, got {repeats}")
  for pair in range(repeats):
    yield from ((pair, side) for side in SIDES[:: -1 if pair % 2 else 1])


def alternate(
  runners: dict[str, Callable[[], Run]], *, repeats: int
) -> dict[str, list[Run]]:
  """Runs each side once unmeasured, then both in turns.

  Args:
    runners: one for each of SIDES; each returns when its run is over.
    repeats: pairs of runs.

  Raises:
    ValueError: `repeats` is below 1, or a side is missing.
  """
  if sorted(runners) != sorted(SIDES):
    raise ValueError(f"the sides must be {SIDES}, got {tuple(runners)}")
  order = list(turns(repeats))
  for side in SIDES:
    runners[side]()
  runs: dict[str, list[Run]] = {side: [] for side in SIDES}
  for _, side in order:
    runs[side].append(runners[side]())
  return runs


def summarize(runs: dict[str, list[Run]]) -> Summary:
  """Medians, and the ratios of the pairs.

  Raises:
    ValueError: the sides did not run equally often, or not at all.
  """
  ours, theirs = (runs[side] for side in SIDES)
  if not ours or len(ours) != len(theirs):
    raise ValueError(
      "the sides must have run equally often and at least once, got "
      f"{len(ours)} and {len(theirs)} runs"
    )
  ratios = [a.seconds / b.seconds for a, b in zip(ours, theirs, strict=True)]
  total = sum(run.seconds for run in [*ours, *theirs])
  return Summary(
    ours_s=statistics.median(run.seconds for run in ours),
    theirs_s=statistics.median(run.seconds for run in theirs),
    ratio=statistics.median(ratios),
    ratio_low=min(ratios),
    ratio_high=max(ratios),
    cpu_ratio=statistics.median(
      a.cpu_s / b.cpu_s for a, b in zip(ours, theirs, strict=True)
    ),
    pairs=len(ratios),
    idle_cpu_share=sum(run.idle_cpu_s for run in [*ours, *theirs]) / total,
  )


def table(summaries: dict[str, Summary]) -> str:
  """The figures for people."""
  lines = [
    f"{'':10}{'ours':>10}{'theirs':>10}{'ratio':>8}{'of CPU':>8}  "
    "lowest to highest"
  ]
  for job, summary in summaries.items():
    lines.append(
      f"{job:10}{_seconds(summary.ours_s):>10}{_seconds(summary.theirs_s):>10}"
      f"{summary.ratio:8.3f}{summary.cpu_ratio:8.3f}  "
      f"{summary.ratio_low:.3f} to "
      f"{summary.ratio_high:.3f} in {summary.pairs} pairs"
    )
  return "\n".join(lines)


def _seconds(value: float) -> str:
  return f"{value:.2f} s" if value >= 1 else f"{1000 * value:.1f} ms"


class Worker:
  """A side's process, as the driver sees it.

  Attributes:
    about: what it said of itself.
  """

  def __init__(
    self, name: str, command: Sequence[str], *, environment: dict[str, str]
  ):
    self._name = name
    self._process = subprocess.Popen(
      command,
      cwd=ROOT,
      env=environment,
      stdin=subprocess.PIPE,
      stdout=subprocess.PIPE,
      text=True,
    )
    self.about = self._answer()

  def _answer(self) -> dict[str, Any]:
    line = self._process.stdout.readline()
    if not line:
      raise RuntimeError(
        f"the worker {self._process.args} ended with status "
        f"{self._process.wait()}; its errors are above"
      )
    return json.loads(line)

  def run(self, job: str) -> Run:
    """One run, waited for.

    Raises:
      RuntimeError: the process ended.
    """
    with contextlib.suppress(BrokenPipeError):
      print(json.dumps({"job": job}), file=self._process.stdin, flush=True)
    run = Run(**self._answer())
    print(
      f"{self._name:8}{job:10}{run.seconds:9.3f} s, of CPU {run.cpu_s:9.3f} s",
      file=sys.stderr,
      flush=True,
    )
    return run

  def close(self) -> None:
    """Ends the process, by ending its input."""
    with contextlib.suppress(BrokenPipeError):
      self._process.stdin.close()
    self._process.wait()
    self._process.stdout.close()


def main(argv: Sequence[str] | None = None) -> None:
  """The program."""
  summary, _, details = (__doc__ or "").partition("\n")
  parser = argparse.ArgumentParser(
    prog="python -m benchmarks.peers.compare",
    description=summary,
    epilog=details,
    formatter_class=argparse.RawDescriptionHelpFormatter,
  )
  add = parser.add_argument
  add("--peer_python", required=True, help="of the peer's environment")
  add("--size", default="paper", help="as of soundstorm_jax.benchmark")
  add("--frames", type=int, default=1500, help="50 are a second")
  add("--threads", type=int, default=2, help="of each side")
  add("--repeats", type=int, default=5, help="pairs of runs of each job")
  add("--jobs", nargs="+", choices=JOBS[:3], default=JOBS[:3], metavar="JOB")
  add("--generations", type=int, default=0, help="pairs of whole generations")
  add("--layers", type=int, help="fewer than the size has: a quick look")
  add("--int8", action="store_true", help="our pass and generations in int8")
  add("--streams", type=int, default=1, help="the peer's residual streams")
  add("--output", type=pathlib.Path, help="where to write the JSON too")
  args = parser.parse_args(argv)
  for name, least in {
    "frames": 1,
    "threads": 1,
    "repeats": 1,
    "generations": 0,
    "layers": 1,
    "streams": 1,
  }.items():
    value = getattr(args, name)
    if value is not None and value < least:
      parser.error(f"--{name} must be at least {least}, got {value}")

  from soundstorm_jax.benchmarking.sizes import SIZES
  from soundstorm_jax.soundstorm.config import default_sampler

  if args.size not in SIZES:
    parser.error(f"--size must be one of {list(SIZES)}, got {args.size!r}")
  model = SIZES[args.size].model
  conformer = model.conformer
  layers = conformer.layers if args.layers is None else args.layers
  ours = {
    "size": args.size,
    "frames": args.frames,
    "threads": args.threads,
    "layers": layers,
  }
  peer = {
    "threads": args.threads,
    "frames": args.frames,
    "iterations": default_sampler(model.levels).iterations[0],
    "streams": args.streams,
    "levels": model.levels,
    "codes": model.codes,
    "semantic_vocab": model.semantic_vocab,
    "dim": conformer.dim,
    "layers": layers,
    "heads": conformer.heads,
    "ff_dim": conformer.ff_dim,
    "conv_kernel": conformer.conv_kernel,
  }
  commands = {
    "ours": [sys.executable, "-m", "benchmarks.peers.ours"]
    + [f"--{name}={value}" for name, value in ours.items()]
    + ["--int8"] * args.int8,
    "theirs": [args.peer_python, "-m", "benchmarks.peers.theirs"]
    + [f"--{name}={value}" for name, value in peer.items()],
  }
  environment = os.environ | {"TQDM_DISABLE": "1"}
  # The environments share no packages.
  alone = {k: v for k, v in environment.items() if k != "PYTHONPATH"}

  with contextlib.ExitStack() as stack:
    workers = {}
    for side, command in commands.items():
      workers[side] = Worker(
        side, command, environment=environment if side == "ours" else alone
      )
      stack.callback(workers[side].close)
    passes = {side: worker.about["passes"] for side, worker in workers.items()}
    if len(set(passes.values())) > 1:
      raise ValueError(f"the sides must make as many passes, got {passes}")
    runs = {}
    for job in JOBS:
      repeats = args.repeats if job in args.jobs else 0
      if job == "generate":
        repeats = args.generations
      if repeats:
        runs[job] = alternate(
          {
            side: lambda worker=worker, job=job: worker.run(job)
            for side, worker in workers.items()
          },
          repeats=repeats,
        )

  about = {side: worker.about for side, worker in workers.items()}
  summaries = {job: summarize(sides) for job, sides in runs.items()}
  work = 2e-9 * args.frames * conformer.dim * conformer.ff_dim
  matmul = {}
  if "matmul" in summaries:
    matmul["ours"] = work / summaries["matmul"].ours_s
    matmul["theirs"] = work / summaries["matmul"].theirs_s
  result = {
    "machine": _processor(),
    "frames": args.frames,
    "size": args.size,
    "layers": layers,
    "streams": args.streams,
    "int8": args.int8,
    "random_weights": True,
    **about,
    "matmul_gflops": matmul,
    "summary": {job: value._asdict() for job, value in summaries.items()},
    "runs": {
      job: {side: [run._asdict() for run in of] for side, of in sides.items()}
      for job, sides in runs.items()
    },
  }
  print(
    f"{args.frames} frames, {args.size}, {layers} layers, RANDOM weights, "
    f"float32{', our pass in int8' if args.int8 else ''}, "
    f"{args.threads} threads, {result['machine']}"
  )
  for side, values in about.items():
    library = "jax" if side == "ours" else "torch"
    print(
      f"{side}: {library} {values[library]}, "
      f"{values['parameters'] / 1e6:.1f}M parameters"
      + (f", matmul {matmul[side]:.0f} GFLOP/s" if matmul else "")
    )
  print(table(summaries))
  line = json.dumps(result)
  if args.output:
    args.output.write_text(line + "\n", "utf-8")
  print(line)


def _processor() -> str:
  """Its name, where the system tells."""
  with contextlib.suppress(OSError):
    for line in pathlib.Path("/proc/cpuinfo").read_text("utf-8").splitlines():
      if line.startswith("model name"):
        return line.partition(":")[2].strip()
  return platform.processor() or platform.machine()


if __name__ == "__main__":
  main()
