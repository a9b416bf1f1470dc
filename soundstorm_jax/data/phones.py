"""Phones of recordings over time, as forced alignment finds them.

The file: CSV with the columns id and phones. Phones are runs of a name and its
length in steps of 10 ms, as in "SIL 12 HH 5 AY 17". A recording that could not
be aligned is missing. `soundstorm_jax.semantic.align` writes it.

The phones are those of the CMU pronouncing dictionary, without stress; whatever
is no speech is SIL, and ? stands for phones that are not known.

Free of TensorFlow. Axes: P steps of 10 ms.
"""

import csv
import itertools
import os
import pathlib
from collections.abc import Iterable, Mapping

import numpy as np
from jaxtyping import Int

STEPS_PER_SECOND = 100
SILENCE = 0
# Where nothing is known: beyond the end, or in a recording without labels.
UNKNOWN = -1

PHONES = (
  "SIL",
  *("AA", "AE", "AH", "AO", "AW", "AY", "B", "CH", "D", "DH", "EH", "ER"),
  *("EY", "F", "G", "HH", "IH", "IY", "JH", "K", "L", "M", "N", "NG", "OW"),
  *("OY", "P", "R", "S", "SH", "T", "TH", "UH", "UW", "V", "W", "Y", "Z"),
  "ZH",
)
_NUMBERS = {name: number for number, name in enumerate(PHONES)} | {"?": UNKNOWN}
_NAMES = {number: name for name, number in _NUMBERS.items()}


def write_phones(
  path: str | os.PathLike[str],
  recordings: Iterable[tuple[str, Int[np.ndarray, "_"]]],
) -> None:
  """Writes a file, in the order given.

  Args:
    path: where to; folders are made.
    recordings: id and phone numbers of each.
  """
  path = pathlib.Path(path)
  path.parent.mkdir(parents=True, exist_ok=True)
  with path.open("w", newline="", encoding="utf-8") as file:
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["id", "phones"])
    for name, numbers in recordings:
      runs = (
        f"{_NAMES[number]} {len(list(steps))}"
        for number, steps in itertools.groupby(numbers.tolist())
      )
      writer.writerow([name, " ".join(runs)])


def read_phones(
  path: str | os.PathLike[str],
) -> Mapping[str, Int[np.ndarray, "_"]]:
  """Phone numbers (int8, places in `PHONES`) by id.

  Raises:
    ValueError: there is no such file, it lacks a column, or a phone or length
      is none.
  """
  path = pathlib.Path(path)
  if not path.is_file():
    raise ValueError(f"no such file of phones: {path}")
  with path.open(newline="", encoding="utf-8") as file:
    reader = csv.DictReader(file)
    missing = {"id", "phones"} - set(reader.fieldnames or ())
    if missing:
      raise ValueError(f"{path} lacks the columns {', '.join(sorted(missing))}")
    return {row["id"]: _parse(row["phones"], path) for row in reader}


def _parse(text: str, path: pathlib.Path) -> np.ndarray:
  words = text.split()
  try:
    numbers = [_NUMBERS[name] for name in words[::2]]
    lengths = [int(length) for length in words[1::2]]
    return np.repeat(np.array(numbers, np.int8), lengths)
  except (KeyError, ValueError) as error:
    raise ValueError(f"no runs of phones in {path}: {text!r}") from error
