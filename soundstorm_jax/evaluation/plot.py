"""A report's figures over a setting, as a picture."""

import pathlib
from collections.abc import Mapping
from typing import Any

import matplotlib
import numpy as np
from matplotlib import pyplot

from soundstorm_jax.evaluation.summary import CODEC, ORIGINAL

matplotlib.use("Agg")


def plot_rows(
  report: Mapping[str, Any],
  rows: Mapping[int, str],
  *,
  label: str,
  output: str | pathlib.Path,
) -> None:
  """Draws each column of a report over the setting that its rows differ in.

  With the 95 % intervals, where there are any; dashed and dotted are the
  codec's reconstruction and the recordings.

  Args:
    report: `summary.summarise`'s.
    rows: by the setting's value, from 1 on; its axis is logarithmic.
    label: of that axis.
    output: PNG file.
  """
  measures, intervals = report["measures"], report["intervals"]
  columns = {
    name: column["title"]
    for name, column in report["columns"].items()
    if any(f"{row}/{name}" in measures for row in rows.values())
  }
  values = sorted(rows)
  wide = 3
  tall = -(-len(columns) // wide)
  figure, axes = pyplot.subplots(
    tall, wide, figsize=(4 * wide, 3 * tall), squeeze=False
  )
  for axis in axes.flat[len(columns) :]:
    axis.remove()
  for axis, (name, title) in zip(axes.flat, columns.items(), strict=False):
    keys = [f"{rows[value]}/{name}" for value in values]
    axis.plot(values, [measures.get(key, np.nan) for key in keys], marker="o")
    for value, key in zip(values, keys, strict=True):
      if key in intervals:
        axis.plot([value, value], intervals[key], color="C0", alpha=0.4)
    for row, style in ((CODEC, "--"), (ORIGINAL, ":")):
      if f"{row}/{name}" in measures:
        axis.axhline(measures[f"{row}/{name}"], color="0.5", linestyle=style)
    axis.set_xscale("log", base=2)
    axis.set_xticks(values, [str(value) for value in values])
    axis.set(xlabel=label, title=title)
  figure.tight_layout()
  figure.savefig(output, dpi=100)
  pyplot.close(figure)
