"""SoundStorm's sampling from a program's arguments."""

import argparse
import dataclasses
from typing import Any

from soundstorm_jax.config import SETTLE, SamplerConfig


def add_arguments(add: Any) -> None:
  """Adds what says how codes are drawn, by a parser's `add_argument`."""
  settings = SamplerConfig()
  add("--temperature", type=float, default=settings.temperature)
  add("--choice_temperature", type=float, default=settings.choice_temperature)
  add("--guidance_scale", type=float, default=settings.guidance_scale)
  add(
    "--settle",
    choices=SETTLE,
    default=settings.settle,
    help="the codes of a level's last pass; default: %(default)s",
  )


def with_arguments(
  sampler: SamplerConfig, args: argparse.Namespace
) -> SamplerConfig:
  """Settings as asked for, with the iterations as they are.

  Raises:
    ValueError: see `SamplerConfig`.
  """
  return dataclasses.replace(
    sampler,
    temperature=args.temperature,
    choice_temperature=args.choice_temperature,
    guidance_scale=args.guidance_scale,
    settle=args.settle,
  )
