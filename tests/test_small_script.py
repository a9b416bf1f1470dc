"""launch/small.sh: what it refuses; the whole of it, tiny, is a slow test."""

import pathlib
import subprocess
import sys

import pytest

_ROOT = pathlib.Path(__file__).parents[1]
_SCRIPT = _ROOT / "launch" / "small.sh"


def _run(*arguments, **options):
  return subprocess.run(
    ["bash", str(_SCRIPT), *map(str, arguments)],
    capture_output=True,
    text=True,
    env={"PYTHON": sys.executable, "PATH": "/usr/bin:/bin"},
    **options,
  )


@pytest.mark.parametrize(
  ("arguments", "message"),
  [
    (["--speed=1"], "unknown argument --speed=1"),
    (["--speech=a", "--tokens=b", "--output=c"], "--teacher is needed"),
    (
      ["--speech=a", "--tokens=b", "--teacher=c", "--output=d", "--seconds=9"],
      "at least 10, got 9",
    ),
  ],
)
def test_wrong_arguments_are_refused_before_anything_is_trained(
  arguments, message
):
  result = _run(*arguments)
  assert result.returncode == 2
  assert message in result.stderr
