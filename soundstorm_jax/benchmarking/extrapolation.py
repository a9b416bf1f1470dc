"""What a run of AudioLM takes, from a few of its steps.

A step's cost does not depend on which token it is of, but on how long the cache
is that it reads, and the sampler's loops have caches of a few lengths (see
`audiolm.cost`). So a number of steps is timed at each of these
lengths, and the run is the sum of all of them.

Axes: B rows, P slots of the prefix, L levels of a stage.
"""

import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from soundstorm_jax.audiolm.cost import StageWork, make_prefill, make_steps
from soundstorm_jax.benchmarking.clock import (
  Program,
  compile_program,
  time_in_turns,
)


class Cost(NamedTuple):
  """Of a pass or a step."""

  seconds: float
  flops: float


class Part(NamedTuple):
  """A part of a run: alike passes or steps.

  Attributes:
    stage: "coarse" or "fine".
    kind: "prefill" or "step".
    rows: that the network takes at once.
    slots: of the cache that a step reads, or that a prefill fills.
    count: how often in a run.
    each: the cost of one.
  """

  stage: str
  kind: str
  rows: int
  slots: int
  count: int
  each: Cost


class Estimate(NamedTuple):
  """A run, added up."""

  parts: tuple[Part, ...]

  @property
  def seconds(self) -> float:
    """Of the whole run."""
    return sum(part.count * part.each.seconds for part in self.parts)

  @property
  def flops(self) -> float:
    """Of the whole run."""
    return sum(part.count * part.each.flops for part in self.parts)


def add_up(
  work: Sequence[StageWork],
  *,
  step: Callable[[StageWork, int], Cost],
  prefill: Callable[[StageWork], Cost],
) -> Estimate:
  """All parts of a run.

  Args:
    work: of the stages.
    step: the cost of a step, given a loop's `room`.
    prefill: the cost of a prefill.
  """
  parts = []
  for stage in work:
    name, slots = stage.config.stage, stage.config.prefix_length(stage.frames)
    known = 1 + stage.known_frames * stage.config.target_levels
    parts.append(
      Part(
        name,
        "prefill",
        stage.rows,
        slots + known,
        stage.prefills,
        prefill(stage),
      )
    )
    parts += [
      Part(
        name,
        "step",
        stage.rows,
        slots + loop.room,
        loop.steps,
        step(stage, loop.room),
      )
      for loop in stage.loops
    ]
  return Estimate(tuple(parts))


class StageClock:
  """Times prefills and steps, each kind of them once.

  Args:
    params: of the stages, by name, as their samplers take them.
    steps: of a timed run, if a loop has as many.
    repeats: timed runs; the median counts.
  """

  def __init__(self, params: Mapping[str, Any], *, steps: int, repeats: int):
    self._params = params
    self._steps = steps
    self._repeats = repeats
    self._known: dict[tuple, Cost] = {}

  def estimate(self, work: Sequence[StageWork]) -> Estimate:
    """Times what is not known yet of this work, and adds it up."""
    return add_up(work, step=self.step, prefill=self.prefill)

  def step(self, work: StageWork, room: int) -> Cost:
    """The cost of a step in a loop whose cache has that room."""
    key = (work.config.stage, work.rows, work.frames, room)
    if key not in self._known:
      self._known[key] = self._time_steps(work, room)
    return self._known[key]

  def prefill(self, work: StageWork) -> Cost:
    """The cost of a prefill."""
    key = (work.config.stage, work.rows, work.frames, work.known_frames, None)
    if key not in self._known:
      self._known[key] = self._time_prefill(work)
    return self._known[key]

  def _time_steps(self, work: StageWork, room: int) -> Cost:
    tokens = work.frames * work.config.target_levels
    steps = min(self._steps, room, tokens)
    params = self._params[work.config.stage]
    keys = jax.random.split(jax.random.key(0, impl="threefry2x32"), work.rows)
    run = make_steps(work.config, frames=work.frames, room=room, steps=steps)
    program = compile_program(
      lambda: run.lower(params, keys=keys, count=jnp.int32(steps))
    )

    def seconds(count: int) -> float:
      return self._seconds(
        lambda: program.compiled(params, keys=keys, count=jnp.int32(count))
      )

    # A run makes the cache first, which is not a step's cost: hence the
    # difference of two. Noise can make nonsense of that where steps are short.
    some, one = seconds(steps), seconds(1)
    difference = (some - one) / (steps - 1) if steps > 1 else 0.0
    return Cost(difference if difference > 0 else some / steps, program.flops)

  def _time_prefill(self, work: StageWork) -> Cost:
    config, rows = work.config, work.rows
    given = (
      self._params[config.stage],
      jnp.zeros((rows, config.prefix_length(work.frames)), jnp.int32),
      jnp.zeros((rows, work.known_frames, config.target_levels), jnp.int32),
    )
    program: Program = compile_program(
      lambda: make_prefill(config).lower(*given)
    )
    return Cost(self._seconds(lambda: program.compiled(*given)), program.flops)

  def _seconds(self, run: Callable[[], Any]) -> float:
    """The median of some runs, after one that is not counted."""
    times = time_in_turns(
      {"": run}, repeats=self._repeats, limit_s=float("inf")
    )
    return statistics.median(times[""].runs_s)
