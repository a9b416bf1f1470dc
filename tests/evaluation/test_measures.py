"""Measures and their table."""

import pytest

from soundstorm_jax.evaluation.measures import Measure, table


def test_table_has_rows_and_columns_in_order_of_arrival():
  text = table(
    [
      Measure("b/top1", 0.25),
      Measure("b/count", 1200.0),
      Measure("a/top1", 0.12345),
      Measure("a/new", 2.5),
    ]
  )
  head, *rows = text.splitlines()
  assert head.split() == ["top1", "count", "new"]
  assert [row.split() for row in rows] == [
    ["b", "0.250", "1200"],
    ["a", "0.123", "2.500"],
  ]
  # What is missing leaves its place free.
  assert rows[1].index("2.500") == head.index("new") - 2


@pytest.mark.parametrize("name", ["top1", "/top1", "row/"])
def test_refuses_names_without_row_and_column(name):
  with pytest.raises(ValueError, match="ROW/COLUMN"):
    table([Measure(name, 1.0)])


def test_refuses_a_name_twice():
  with pytest.raises(ValueError, match="two measures have the name 'a/b'"):
    table([Measure("a/b", 1.0), Measure("a/b", 2.0)])
