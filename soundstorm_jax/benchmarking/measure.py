"""What the benchmark measures, and how one shape is measured.

All systems of a duration and batch size take their turns, on the same random
tokens; a run that would take too long is not made but put together of its
parts.
"""

import dataclasses
import math
import os
import time
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from soundstorm_jax.benchmarking import clock
from soundstorm_jax.benchmarking.extrapolation import StageClock
from soundstorm_jax.benchmarking.report import Decoding, Row, make_row
from soundstorm_jax.benchmarking.sizes import (
  SIZES,
  Size,
  random_soundstorm,
  random_stage,
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
from soundstorm_jax.config import at_least, check_dtype
from soundstorm_jax.soundstream.codec import Codec

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
