"""Rows, ratios, tables and the plot, of figures that are easily checked."""

import json

import matplotlib.colors
import pytest

from soundstorm_jax.benchmarking.clock import Peak, Times
from soundstorm_jax.benchmarking.extrapolation import Cost, Estimate, Part
from soundstorm_jax.benchmarking.plot import draw, write_plot
from soundstorm_jax.benchmarking.report import (
  Decoding,
  Report,
  make_row,
  ratios,
)
from soundstorm_jax.benchmarking.systems import Prepared

COMPILED = {"compile_s": 7.0, "bytes": 2**30, "run": lambda: None}
SOUNDSTORM = Prepared(**COMPILED, passes=27, flops=1e10)
ESTIMATE = Estimate((Part("coarse", "step", 2, 100, 50, Cost(0.1, 1e6)),))
AUDIOLM = Prepared(**COMPILED, passes=51, flops=5e7, estimate=ESTIMATE)
DECODING = Decoding(1.0, Times((0.25, 0.25), True, None, None))


def _row(system, prepared, times, seconds=2.0):
  return make_row(
    system,
    prepared,
    times,
    decoding=DECODING,
    peak=Peak(1e11, 512),
    seconds=seconds,
    batch_size=2,
    frames=round(50 * seconds),
    frame_rate=50,
    levels=12,
  )


def _runs(*seconds, warm=True):
  return Times(tuple(seconds), warm, 10**9, None)


def _report(*rows, **settings):
  return Report(
    settings={
      "size": "tiny",
      "dtype": "float32",
      "steps": 32,
      "limit_seconds": 60.0,
    }
    | settings,
    machine={"device": "abacus", "cores": 1, "jax": "0"},
    parameters={"soundstorm": 10**6, "audiolm": 2 * 10**6},
    peak=Peak(1e11, 512),
    rows=rows,
  )


def test_a_row_of_runs():
  row = _row("soundstorm", SOUNDSTORM, _runs(0.5, 1.0, 0.25))
  assert (row.frames, row.tokens, row.audio_s) == (100, 2 * 100 * 12, 4.0)
  assert row.sample_s == 0.5
  assert row.tokens_per_s == 4800
  assert row.real_time_factor == pytest.approx(0.75 / 4)
  assert row.audio_per_s == pytest.approx(4 / 0.75)
  # 10 of a possible 50 GFLOP.
  assert row.peak_share == pytest.approx(0.2)
  assert row.peak_process_bytes == 10**9
  assert not row.extrapolated


def test_a_row_without_runs_is_the_estimate():
  row = _row("audiolm", AUDIOLM, None)
  assert row.extrapolated
  assert row.sample_s == row.estimate_s == 5.0
  assert row.runs_s == ()
  assert row.peak_process_bytes is None
  with pytest.raises(ValueError, match="soundstorm was neither run nor"):
    _row("soundstorm", SOUNDSTORM, None)


def test_ratios_are_of_the_same_shape():
  rows = [
    _row("soundstorm", SOUNDSTORM, _runs(0.5)),
    _row("audiolm", AUDIOLM, None),
    _row("audiolm_batched", AUDIOLM, _runs(2.0)),
    # There is no SoundStorm of that length.
    _row("audiolm", AUDIOLM, _runs(2.0), seconds=3.0),
  ]
  found = ratios(rows)
  assert [(r.system, r.ratio, r.extrapolated) for r in found] == [
    ("audiolm", 10.0, True),
    ("audiolm_batched", 4.0, False),
  ]


def test_text_marks_what_was_not_measured():
  report = _report(
    _row("soundstorm", SOUNDSTORM, _runs(70.0, warm=False)),
    _row("audiolm", AUDIOLM, None),
    _row("audiolm_batched", AUDIOLM, _runs(4.0)),
  )
  lines = report.to_text().splitlines()
  assert "RANDOM weights" in lines[0]
  by_name = {
    name: next(line for line in lines[5:] if line.startswith(name))
    for name in ("SoundStorm", "AudioLM as", "AudioLM, chunks")
  }
  assert "*70.00 s" in by_name["SoundStorm"]
  assert "~5.00 s" in by_name["AudioLM as"]
  assert " 4.00 s" in by_name["AudioLM, chunks"]
  text = "\n".join(lines)
  assert "~ EXTRAPOLATED, as a run would take over 60 s: 32 steps" in text
  assert "gives 1.25 to 1.25 of the time measured" in text
  assert "* A first run took over 60 s" in text
  assert "counts a loop's body once" in text
  # 5 and 4 s over 70 s.
  assert "~0.0714" in text
  assert "0.0571" in text


def test_text_has_no_marks_where_all_was_measured():
  text = _report(_row("soundstorm", SOUNDSTORM, _runs(0.5))).to_text()
  assert "~" not in text
  assert "*" not in text
  assert "Time of AudioLM" not in text


def test_json_has_everything():
  rows = [
    _row("soundstorm", SOUNDSTORM, _runs(0.5, 0.25)),
    _row("audiolm", AUDIOLM, None),
  ]
  values = json.loads(json.dumps(_report(*rows).to_json()))
  assert values["random_weights"] is True
  assert values["rows"][0]["runs_s"] == [0.5, 0.25]
  assert values["rows"][1]["parts"] == [
    {
      "stage": "coarse",
      "kind": "step",
      "rows": 2,
      "slots": 100,
      "count": 50,
      "each": {"seconds": 0.1, "flops": 1e6},
    }
  ]
  assert values["ratios"][0]["extrapolated"] is True
  assert values["peak"] == {"flops_per_s": 1e11, "size": 512}


def test_plot_has_a_line_a_system_and_hollow_points(tmp_path):
  report = _report(
    _row("soundstorm", SOUNDSTORM, _runs(0.5)),
    _row("soundstorm", SOUNDSTORM, _runs(0.25), seconds=1.0),
    _row("audiolm", AUDIOLM, None),
    _row("audiolm", AUDIOLM, _runs(1.0), seconds=1.0),
  )
  axis = draw(report).axes[0]
  assert (axis.get_xscale(), axis.get_yscale()) == ("log", "log")
  lines = {line.get_label(): line for line in axis.lines}
  assert list(lines["SoundStorm"].get_xydata().ravel()) == [1, 0.25, 2, 0.5]
  assert list(lines["AudioLM as published"].get_ydata()) == [1.0, 5.0]
  assert "AudioLM, chunks at once" not in lines
  white = matplotlib.colors.to_rgba("white")
  hollow = [
    tuple(line.get_xydata()[0])
    for line in axis.lines
    if len(line.get_xdata()) == 1
    and matplotlib.colors.to_rgba(line.get_markerfacecolor()) == white
  ]
  assert hollow == [(2.0, 5.0)]
  write_plot(report, tmp_path / "plot.png")
  assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")
