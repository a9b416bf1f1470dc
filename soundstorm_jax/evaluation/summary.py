"""From the judgements of single utterances to a table and back.

The rows are those of SoundStorm's table 1 (arXiv 2305.09636): the recordings,
what the codec makes of them, and what the model generates for them; the cells
are by length of the utterance. A figure is the sum of its totals over the sum
of its counts, so that a word error rate is that of all words together.

A report is a mapping that goes to JSON as it is; see `summarise`.
"""

import json
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from soundstorm_jax.evaluation.intervals import draws, interval, ratios
from soundstorm_jax.evaluation.judges import Column, Judge, Judgement
from soundstorm_jax.evaluation.measures import Measure, align

ORIGINAL, CODEC = "original", "reconstruction"
NO_PROMPT, PROMPT, CONVERSION = "no_prompt", "prompt", "conversion"
AUDIOLM_NO_PROMPT, AUDIOLM_PROMPT = "audiolm_no_prompt", "audiolm_prompt"
ROWS = {
  ORIGINAL: "recording",
  CODEC: "codec reconstruction",
  AUDIOLM_NO_PROMPT: "AudioLM, no prompt",
  NO_PROMPT: "SoundStorm, no prompt",
  AUDIOLM_PROMPT: "AudioLM, prompt",
  PROMPT: "SoundStorm, prompt",
  CONVERSION: "voice conversion",
}
# Seconds of an utterance: the paper's classes, each up to and not including.
CLASSES = {"short": (4, 10), "mid": (10, 20), "long": (20, 30)}


class Entry(NamedTuple):
  """What the judges say of one utterance in one row.

  Attributes:
    row: of `ROWS`, or of the titles that `summarise` is given.
    utterance: its id.
    speaker: who said it.
    length: of `CLASSES`.
    seconds: of the recording.
    voice: id of the recording whose start is the voice wanted.
    stranger: likewise, the other voice.
    text: the transcript.
    audio: file, relative to the report.
    judgement: of all judges together.
  """

  row: str
  utterance: str
  speaker: str
  length: str
  seconds: float
  voice: str
  stranger: str
  text: str
  audio: str
  judgement: Judgement


def length_class(seconds: float) -> str | None:
  """The class of an utterance, None outside all of them."""
  for name, (low, high) in CLASSES.items():
    if low <= seconds < high:
      return name
  return None


def summarise(
  entries: Sequence[Entry],
  judges: Sequence[Judge],
  *,
  titles: Mapping[str, str] = ROWS,
  seed: int = 0,
) -> dict[str, Any]:
  """The figures of a report.

  Args:
    entries: the same utterances in every row, in the same order.
    judges: that made the judgements.
    titles: of the rows, in the order of the table.
    seed: of the bootstrap.

  Returns:
    `judges`: their names. `rows`: their titles. `columns`: of each, its title,
    digits and note. `measures`: ROW/COLUMN and ROW_CLASS/COLUMN to figure;
    likewise ROW/n, how many utterances. `intervals`: the same names to both
    ends of the 95 % bootstrap interval, where there are utterances enough.
    `differences`: for each row below the codec's, ROW/COLUMN to its figure less
    the codec's, and `difference_intervals`. `utterances`: the entries.

  Raises:
    ValueError: there are no entries, a row without a title, or rows of
      different utterances.
  """
  columns = [column for judge in judges for column in judge.columns]
  rows = _by_row(entries, titles)
  measures, intervals = {}, {}
  differences, difference_intervals = {}, {}
  first = next(iter(rows.values()))
  for length in (None, *CLASSES):
    chosen = np.array([length in (None, entry.length) for entry in first])
    count = int(chosen.sum())
    if not count:
      continue
    times = draws(count, seed=seed)
    made: dict[str, np.ndarray] = {}
    for row, of_row in rows.items():
      name = row if length is None else f"{row}_{length}"
      measures[f"{name}/n"] = count
      for column in columns:
        totals, counts = _sums(of_row, column)
        totals, counts = totals[chosen], counts[chosen]
        if not counts.sum():
          continue
        key = f"{name}/{column.name}"
        measures[key] = float(totals.sum() / counts.sum())
        made[key] = ratios(times, totals, counts)
        ends = interval(made[key], count=int((counts > 0).sum()))
        if ends:
          intervals[key] = ends
        codec = f"{CODEC}/{column.name}"
        if length is None and codec in made and row not in (ORIGINAL, CODEC):
          differences[key] = measures[key] - measures[codec]
          ends = interval(made[key] - made[codec], count=count)
          if ends:
            difference_intervals[key] = ends
  return {
    "judges": [judge.name for judge in judges],
    "rows": {row: titles[row] for row in rows},
    "columns": {
      column.name: {
        "title": column.title,
        "digits": column.digits,
        "note": column.note,
      }
      for column in columns
    },
    "measures": measures,
    "intervals": intervals,
    "differences": differences,
    "difference_intervals": difference_intervals,
    "utterances": [_to_json(entry) for entry in entries],
  }


def _by_row(
  entries: Sequence[Entry], titles: Mapping[str, str]
) -> dict[str, list[Entry]]:
  rows: dict[str, list[Entry]] = {}
  for entry in entries:
    if entry.row not in titles:
      raise ValueError(f"row must be of {list(titles)}, got {entry.row!r}")
    rows.setdefault(entry.row, []).append(entry)
  if len({tuple(e.utterance for e in of_row) for of_row in rows.values()}) != 1:
    raise ValueError(
      "all rows must be of the same utterances, got "
      f"{ {row: len(of_row) for row, of_row in rows.items()} }"
    )
  # The codec's comes before the rows that are compared with it.
  return {row: rows[row] for row in titles if row in rows}


def _sums(
  entries: Sequence[Entry], column: Column
) -> tuple[np.ndarray, np.ndarray]:
  """Totals and counts of a column, zero where it does not apply."""
  scores = [e.judgement.scores.get(column.name, (0, 0)) for e in entries]
  totals, counts = np.array(scores, np.float64).T
  return totals, counts


def _to_json(entry: Entry) -> dict[str, Any]:
  values = entry._asdict()
  judgement = values.pop("judgement")
  return values | {
    "heard": judgement.heard,
    "scores": {name: list(score) for name, score in judgement.scores.items()},
  }


def measures_of(report: Mapping[str, Any]) -> Iterator[Measure]:
  """The figures, each with its name."""
  yield from (Measure(*item) for item in report["measures"].items())


class Cell(NamedTuple):
  """One figure in all its forms, as text; "" where there is none.

  Attributes:
    classes: of the length classes, as in the paper: short/mid/long.
    all: of all utterances together.
    interval: of that.
    difference: to the codec's.
  """

  classes: str
  all: str
  interval: str
  difference: str


class Line(NamedTuple):
  """A row of the table."""

  title: str
  cells: list[Cell]


class Table(NamedTuple):
  """What to show of a report.

  Attributes:
    titles: of the columns.
    lines: the rows.
    counts: of the utterances, by class.
    notes: what each column measures, by its title.
    judges: names with versions.
    settings: of the run.
  """

  titles: list[str]
  lines: list[Line]
  counts: dict[str, int]
  notes: dict[str, str]
  judges: list[str]
  settings: Mapping[str, Any]


def tabulate(report: Mapping[str, Any]) -> Table:
  """A report's figures as text."""
  measures, columns = report["measures"], report["columns"]
  rows = report["rows"]
  first = next(iter(rows))
  present = {
    name: int(measures[f"{first}_{name}/n"])
    for name in CLASSES
    if f"{first}_{name}/n" in measures
  }
  return Table(
    titles=[column["title"] for column in columns.values()],
    lines=[
      Line(
        title,
        [
          _cell(report, row, name, digits=column["digits"], classes=present)
          for name, column in columns.items()
        ],
      )
      for row, title in rows.items()
    ],
    counts=present,
    notes={column["title"]: column["note"] for column in columns.values()},
    judges=list(report["judges"]),
    settings=report.get("settings", {}),
  )


def _cell(
  report: Mapping[str, Any],
  row: str,
  column: str,
  *,
  digits: int,
  classes: Mapping[str, int],
) -> Cell:
  measures, key = report["measures"], f"{row}/{column}"

  def number(value: float | None) -> str:
    return "-" if value is None else f"{value:.{digits}f}"

  def ends(values: Mapping[str, Sequence[float]]) -> str:
    return " to ".join(map(number, values[key])) if key in values else ""

  if key not in measures:
    return Cell("", "", "", "")
  parts = [number(measures.get(f"{row}_{c}/{column}")) for c in classes]
  difference = ""
  if key in report["differences"]:
    difference = f"{report['differences'][key]:+.{digits}f}"
    around = ends(report["difference_intervals"])
    difference += f" ({around})" if around else ""
  return Cell(
    "/".join(parts),
    number(measures[key]),
    ends(report["intervals"]),
    difference,
  )


def text(report: Mapping[str, Any]) -> str:
  """The tables for a terminal, one below the other, and what they mean."""
  table = tabulate(report)

  def block(title: str, name: str) -> str:
    lines = [["", *table.titles]]
    for line in table.lines:
      cells = [getattr(cell, name) for cell in line.cells]
      if any(cells):
        lines.append([line.title, *cells])
    return f"{title}\n{align(lines)}" if lines[1:] else ""

  utterances = ", ".join(f"{n} {name}" for name, n in table.counts.items())
  limits = ", ".join(
    f"{name} {low}-{high} s" for name, (low, high) in CLASSES.items()
  )
  blocks = [
    block(f"By length ({limits}): {utterances}", "classes"),
    block("All", "all"),
    block("All, 95 % intervals", "interval"),
    block("Less the codec's (95 % interval)", "difference"),
    "\n".join(f"{title}: {note}" for title, note in table.notes.items()),
    "Judges: " + "; ".join(table.judges),
  ]
  return "\n\n".join(filter(None, blocks))


def load_report(
  path: str | pathlib.Path, weights: Mapping[str, str]
) -> dict[str, Any] | None:
  """A report of these weights, None if there is none.

  Args:
    path: JSON.
    weights: fingerprints, by kind. A report of others is not theirs.
  """
  path = pathlib.Path(path)
  if not path.is_file():
    return None
  report = json.loads(path.read_text("utf-8"))
  return report if report.get("weights") == dict(weights) else None
