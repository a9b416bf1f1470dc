"""Two ways to write the same become one."""

import pytest

from soundstorm_jax.evaluation.text import normalise, spell


@pytest.mark.parametrize(
  ("written", "words"),
  [
    (
      "Mr. Quilter's MANNER, less -- well!",
      "mister quilter's manner less well",
    ),
    ("It\u2019s Zo\u00eb\u2019s caf\u00e9", "it's zoe's cafe"),
    ("a well-known colour; neighbours", "a well known color neighbors"),
    ("our hour, four pours", "our hour four pours"),
    ("12 and 105", "twelve and one hundred and five"),
    ("in 1859, or 1807", "in eighteen fifty nine or eighteen o seven"),
    ("1,250,000 men", "one million two hundred and fifty thousand men"),
    ("the 21st and the 12th", "the twenty first and the twelfth"),
    ("the 30th of July", "the thirtieth of july"),
    ("3.14 at 50%", "three point one four at fifty percent"),
    ("$5 & \u00a320", "five dollars and twenty pounds"),
    ("at 4:30", "at four thirty"),
    ("...", ""),
  ],
)
def test_normalises(written, words):
  assert normalise(written) == words
  # What is normal stays as it is.
  assert normalise(words) == words


def test_spells_numbers():
  assert [spell(n) for n in (0, 19, 20, 99, 100)] == [
    "zero",
    "nineteen",
    "twenty",
    "ninety nine",
    "one hundred",
  ]
  assert spell(2000) == "two thousand"
  assert spell(10**12) == "one thousand billion"
