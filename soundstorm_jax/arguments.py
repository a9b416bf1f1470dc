"""Values that commas part, in the programs' arguments."""

import argparse
from collections.abc import Callable
from typing import TypeVar

_Value = TypeVar("_Value")


def listed(
  convert: Callable[[str], _Value],
) -> Callable[[str], tuple[_Value, ...]]:
  """The `type` of an argument like 1,4,16; an empty text has no values.

  Args:
    convert: makes a value of its text, or raises ValueError.

  Returns:
    A parser, whose complaint argparse shows beside the argument's name.
  """

  def parse(text: str) -> tuple[_Value, ...]:
    try:
      return tuple(convert(part) for part in text.split(",")) if text else ()
    except ValueError as error:
      raise argparse.ArgumentTypeError(
        f"{text!r} must be values parted by commas: {error}"
      ) from error

  return parse


def _name(text: str) -> str:
  """A name without blanks around it.

  Raises:
    ValueError: nothing is left.
  """
  if not text.strip():
    raise ValueError("an empty name")
  return text.strip()


# The `type` of an argument like A,B,C.
listed_names = listed(_name)
