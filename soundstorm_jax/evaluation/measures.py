"""What a judge says, and how it is shown.

A judge is a generator of measures. The name of a measure is ROW/COLUMN: what
was judged, and by which yardstick. Judges know nothing of each other; whoever
runs several of them shows all they say in one table.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple


class Measure(NamedTuple):
  """One figure.

  Attributes:
    name: ROW/COLUMN, such as "levels_04/stoi".
    value: in the unit that the judge documents.
  """

  name: str
  value: float


def table(measures: Iterable[Measure]) -> str:
  """Text with a line a row and a column a yardstick, in the order of arrival.

  Raises:
    ValueError: a name is not ROW/COLUMN, or comes twice.
  """
  cells: dict[str, dict[str, float]] = {}
  for name, value in measures:
    row, slash, column = name.partition("/")
    if not (row and slash and column):
      raise ValueError(f"a measure's name must be ROW/COLUMN, got {name!r}")
    if column in cells.setdefault(row, {}):
      raise ValueError(f"two measures have the name {name!r}")
    cells[row][column] = value
  columns = list(dict.fromkeys(c for row in cells.values() for c in row))
  return align(
    [["", *columns]]
    + [
      [row, *(_number(values[c]) if c in values else "" for c in columns)]
      for row, values in cells.items()
    ]
  )


def align(lines: Sequence[Sequence[str]]) -> str:
  """Text of cells, the first column on the left, the others on the right."""
  widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
  return "\n".join(
    "  ".join(
      [line[0].ljust(widths[0])]
      + [c.rjust(w) for c, w in zip(line[1:], widths[1:], strict=True)]
    ).rstrip()
    for line in lines
  )


def _number(value: float) -> str:
  """Counts as they are, everything else to three decimals."""
  return str(int(value)) if float(value).is_integer() else f"{value:.3f}"
