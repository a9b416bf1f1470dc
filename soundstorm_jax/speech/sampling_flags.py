"""SoundStorm's sampling, from a program's arguments and in words."""

import argparse
import dataclasses
from typing import Any

from soundstorm_jax.config import listed
from soundstorm_jax.soundstorm.config import SamplerConfig

_SETTINGS = ("temperature", "choice_temperature", "guidance_scale")


def add_arguments(add: Any) -> None:
  """Adds what says how codes are drawn, by a parser's `add_argument`.

  What is not given is as the model has it. `int8` is for `load`.
  """
  add(
    "--iterations",
    type=listed(int),
    help="passes per level, 16,1,1; missing ones: 1",
  )
  add("--temperature", type=float)
  add("--choice_temperature", type=float)
  add("--guidance_scale", type=float)
  add(
    "--int8", action="store_true", help="int8 products: see soundstorm/int8.py"
  )


def with_arguments(
  sampler: SamplerConfig, args: argparse.Namespace
) -> SamplerConfig:
  """A model's settings, but for those that are given.

  Args:
    sampler: of the model.
    args: from a parser with `add_arguments`.

  Raises:
    ValueError: iterations of more levels than `sampler` has; see
      `SamplerConfig` for the others.
  """
  given = {name: getattr(args, name) for name in _SETTINGS}
  given = {name: value for name, value in given.items() if value is not None}
  if args.iterations:
    given["iterations"] = _every_level(
      args.iterations, levels=len(sampler.iterations)
    )
  return dataclasses.replace(sampler, **given)


def in_words(sampler: SamplerConfig) -> str:
  """A sampler's settings, for reports."""
  words = f"{sampler.passes} passes: {sampler.iterations}"
  if sampler.guidance_scale:
    words += f", each with guidance {sampler.guidance_scale:g}"
  return f"{words}, temperature {sampler.temperature:g}"


def _every_level(counts: tuple[int, ...], *, levels: int) -> tuple[int, ...]:
  if len(counts) > levels:
    raise ValueError(
      f"iterations must be for at most {levels} levels, got {counts}"
    )
  return counts + (1,) * (levels - len(counts))
