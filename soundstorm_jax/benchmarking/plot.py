"""Time against duration, for all systems."""

import pathlib

from matplotlib.figure import Figure

from soundstorm_jax.benchmarking.report import Report
from soundstorm_jax.benchmarking.systems import AUDIOLM, BATCHED, SOUNDSTORM
from soundstorm_jax.benchmarking.systems import SYSTEMS as TITLES

_COLOURS = {
  SOUNDSTORM: "tab:blue",
  AUDIOLM: "tab:red",
  BATCHED: "tab:orange",
}
_LINES = ("-", "--", ":", "-.")


def draw(report: Report) -> Figure:
  """A line for each system and batch size; extrapolated points are hollow."""
  # Not pyplot, which would change the backend of whoever calls.
  figure = Figure(figsize=(7, 4.8))
  axis = figure.subplots()
  batch_sizes = sorted({row.batch_size for row in report.rows})
  for system, colour in _COLOURS.items():
    for number, batch_size in enumerate(batch_sizes):
      rows = sorted(
        (
          row
          for row in report.rows
          if (row.system, row.batch_size) == (system, batch_size)
        ),
        key=lambda row: row.seconds,
      )
      if not rows:
        continue
      seconds = [row.seconds for row in rows]
      label = TITLES[system]
      if len(batch_sizes) > 1:
        label += f", {batch_size} at once"
      axis.plot(
        seconds,
        [row.sample_s for row in rows],
        _LINES[number % len(_LINES)],
        color=colour,
        label=label,
      )
      for row in rows:
        axis.plot(
          row.seconds,
          row.sample_s,
          "o",
          color=colour,
          markerfacecolor="white" if row.extrapolated else colour,
        )
  ends = [end(row.seconds for row in report.rows) for end in (min, max)]
  axis.plot(ends, ends, color="grey", lw=0.8, label="as long as it sounds")
  if any(row.extrapolated for row in report.rows):
    axis.plot([], [], "o", color="k", mfc="white", label="extrapolated")
  axis.set_xscale("log")
  axis.set_yscale("log")
  durations = sorted({row.seconds for row in report.rows})
  axis.set_xticks(durations, [f"{value:g}" for value in durations])
  axis.minorticks_off()
  axis.set_xlabel("seconds of each utterance")
  axis.set_ylabel("seconds of the sampler")
  axis.set_title(
    f"{report.settings['size']}, {report.settings['dtype']}, "
    f"{report.machine['device']}; random weights",
    fontsize=9,
  )
  axis.grid(alpha=0.3)
  axis.legend(fontsize=8)
  figure.tight_layout()
  return figure


def write_plot(report: Report, path: pathlib.Path) -> None:
  """Writes it as a PNG."""
  draw(report).savefig(path, dpi=120)
