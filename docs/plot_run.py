"""Draws the curves of a training run from its TensorBoard files.

  python docs/plot_run.py --workdir=runs/small --tokens=tokens/librispeech \\
    --panel="loss_level_*" --panel="top1_level_*" --output=soundstorm.png

A panel shows the scalars whose names match one of its patterns, parted by
commas. Thin lines are of training ("train/NAME"), thick ones of the held-out
data ("eval/NAME"). With --tokens, the dashed lines of `loss_level_*` are the
cross-entropies of all held-out tokens under the frequencies of each level's
codes in training: a model that stays there has learnt nothing else.
"""

import argparse
import fnmatch
import pathlib
import re
from collections.abc import Sequence
from typing import NamedTuple

import matplotlib
import numpy as np
from matplotlib import pyplot
from tensorboard.backend.event_processing import event_accumulator
from tensorboard.util.tensor_util import make_ndarray

matplotlib.use("Agg")


class Curve(NamedTuple):
  """A scalar over the steps of a run; minutes are since its first report."""

  steps: np.ndarray
  minutes: np.ndarray
  values: np.ndarray


def read_curves(workdir: str | pathlib.Path) -> dict[str, Curve]:
  """All scalars of a run, by name.

  Raises:
    ValueError: there are none.
  """
  # 0: all of them, not a sample.
  kept = {event_accumulator.TENSORS: 0}
  events = event_accumulator.EventAccumulator(str(workdir), kept).Reload()
  found = {}
  for name in events.Tags()[event_accumulator.TENSORS]:
    if name.startswith(("train/", "eval/")):
      found[name] = [
        (event.step, event.wall_time, make_ndarray(event.tensor_proto).item())
        for event in events.Tensors(name)
      ]
  if not found:
    raise ValueError(f"{workdir} holds no scalars of a training run")
  start = min(points[0][1] for points in found.values())
  curves = {}
  for name, points in found.items():
    steps, times, values = np.array(points).T
    curves[name] = Curve(steps, (times - start) / 60, values)
  return curves


def frequencies_alone(tokens: str) -> dict[str, float]:
  """Cross-entropy of held-out tokens by level, under code frequencies."""
  # Jax and TensorFlow take seconds to import.
  from soundstorm_jax.data.records import TokenRecords
  from soundstorm_jax.evaluation.tokens import count_codes

  counts = []
  for name in ("train", "test"):
    records = TokenRecords(tokens, split=name)
    counts.append(
      count_codes(
        (records[number].acoustic for number in range(len(records))),
        levels=records.metadata.levels,
        codes=records.metadata.codes,
      )
    )
  train, held_out = counts
  log_share = np.log((train + 1) / (train + 1).sum(-1, keepdims=True))
  nats = -(held_out * log_share).sum(-1) / held_out.sum(-1)
  return {f"loss_level_{q + 1:02d}": float(v) for q, v in enumerate(nats)}


def draw(
  curves: dict[str, Curve],
  panels: Sequence[str],
  *,
  floors: dict[str, float],
  average: int,
  output: str | pathlib.Path,
) -> None:
  """Writes a PNG with one plot a panel.

  Raises:
    ValueError: a panel matches no scalar.
  """
  figure, axes = pyplot.subplots(
    1, len(panels), figsize=(4.6 * len(panels), 3.8), squeeze=False
  )
  names = sorted({name.split("/", 1)[1] for name in curves}, key=_order)
  for axis, panel in zip(axes[0], panels, strict=True):
    chosen = [
      name
      for name in names
      if any(fnmatch.fnmatch(name, part) for part in panel.split(","))
    ]
    if not chosen:
      raise ValueError(f"no scalar is called {panel}; there are {names}")
    colours = matplotlib.colormaps["viridis"](np.linspace(0, 0.85, len(chosen)))
    for name, colour in zip(chosen, colours, strict=True):
      train = curves.get(f"train/{name}")
      held_out = curves.get(f"eval/{name}")
      if train is not None:
        alpha = 1.0 if held_out is None else 0.4
        # Each level is of a few examples a step.
        values = np.convolve(train.values, np.ones(average) / average, "valid")
        axis.plot(
          train.steps[average - 1 :], values, color=colour, alpha=alpha, lw=0.9
        )
      if held_out is not None:
        axis.plot(
          held_out.steps, held_out.values, "o-", color=colour, markersize=3
        )
      if name in floors:
        axis.axhline(floors[name], color=colour, ls="--", lw=0.9)
      # A label of its own, so that it has the full colour.
      axis.plot([], [], color=colour, label=name.replace("_", " "))
    axis.set_xlim(0, max(curve.steps[-1] for curve in curves.values()))
    axis.set_xlabel("step")
    axis.grid(alpha=0.3)
    axis.legend(fontsize=7)
    _add_minutes(axis, next(iter(curves.values())))
  figure.tight_layout()
  figure.savefig(output, dpi=110)


def _order(name: str) -> list[int | str]:
  """For sorting: numbers in a name count by their value."""
  parts = re.split(r"(\d+)", name)
  return [int(part) if part.isdigit() else part for part in parts]


def _add_minutes(axis: pyplot.Axes, clock: Curve) -> None:
  """The same places once more above, in minutes."""
  steps = [step for step in axis.get_xticks() if step <= axis.get_xlim()[1]]
  minutes = np.interp(steps, clock.steps, clock.minutes)
  above = axis.secondary_xaxis("top")
  above.set_xticks(steps, [f"{minute:.0f}" for minute in minutes])
  above.set_xlabel("minutes")


def parser() -> argparse.ArgumentParser:
  """The program's arguments."""
  summary, _, details = (__doc__ or "").partition("\n")
  result = argparse.ArgumentParser(
    prog="python docs/plot_run.py",
    description=summary,
    epilog=details,
    formatter_class=argparse.RawDescriptionHelpFormatter,
  )
  add = result.add_argument
  add("--workdir", required=True, help="of the run")
  add("--panel", action="append", required=True, help="patterns; repeatable")
  add("--average", type=int, default=1, help="reports a thin point is of")
  add("--tokens", help="token dataset, for the dashed lines")
  add("--output", required=True, help="PNG file to write")
  return result


def main(argv: Sequence[str] | None = None) -> None:
  """The program."""
  args = parser().parse_args(argv)
  floors = frequencies_alone(args.tokens) if args.tokens else {}
  draw(
    read_curves(args.workdir),
    args.panel,
    floors=floors,
    average=args.average,
    output=args.output,
  )


if __name__ == "__main__":
  main()
