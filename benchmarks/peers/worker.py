"""One side of a comparison: a process that runs a job when told to.

The driver writes a line of JSON for every run and waits for the answer, so the
two sides never work at the same time. Only the standard library is used: the
sides live in different environments.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any


def serve(jobs: Mapping[str, Callable[[], Any]], about: dict[str, Any]) -> None:
  """Runs jobs until the input ends.

  Writes `about` first, as a line of JSON, once the jobs can be run. After that
  every line `{"job": name}` is answered by `{"seconds", "cpu_s",
  "idle_cpu_s"}`: the run's time, the processor time of all threads in it, and
  that since the run before, while the other side was at work.

  Args:
    jobs: what can be asked for. A job returns when its result is there.
    about: versions, sizes, threads.

  Raises:
    ValueError: another job was asked for.
  """
  # Whatever the libraries print goes to the standard error.
  answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
  os.dup2(sys.stderr.fileno(), sys.stdout.fileno())

  def answer(values):
    print(json.dumps(values), file=answers, flush=True)

  answer(about)
  rested = time.process_time()
  for line in sys.stdin:
    name = json.loads(line)["job"]
    if name not in jobs:
      raise ValueError(f"job must be one of {sorted(jobs)}, got {name!r}")
    began, began_cpu = time.perf_counter(), time.process_time()
    jobs[name]()
    seconds = time.perf_counter() - began
    ended_cpu = time.process_time()
    answer(
      {
        "seconds": seconds,
        "cpu_s": ended_cpu - began_cpu,
        "idle_cpu_s": began_cpu - rested,
      }
    )
    rested = ended_cpu


def pin(threads: int) -> None:
  """Keeps this process on its first `threads` processors.

  JAX makes as many threads as the process may use processors; PyTorch is told.

  Raises:
    ValueError: the machine lends fewer.
  """
  lent = sorted(os.sched_getaffinity(0))
  if not 1 <= threads <= len(lent):
    raise ValueError(f"threads must be from 1 to {len(lent)}, got {threads}")
  os.sched_setaffinity(0, lent[:threads])
