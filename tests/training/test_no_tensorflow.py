"""Training where TensorFlow cannot be imported: needs processes of its own."""

import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[2]


@pytest.mark.parametrize("task", ["soundstorm", "audiolm", "soundstream"])
def test_trains_evaluates_saves_resumes_and_logs(task, tmp_path):
  script = pathlib.Path(__file__).with_name("no_tensorflow.py")
  environment = os.environ | {
    # Compilation is nearly all of the time, and need not be thorough.
    "XLA_FLAGS": "--xla_backend_optimization_level=0",
    "JAX_PLATFORMS": "cpu",
    "JAX_COMPILATION_CACHE_DIR": str(tmp_path / "compiled"),
    "PYTHONPATH": str(ROOT),
  }
  done = subprocess.run(
    [sys.executable, str(script), task, str(tmp_path)],
    env=environment,
    capture_output=True,
    text=True,
    check=False,
  )
  assert done.returncode == 0, done.stderr[-3000:]
  assert done.stdout.endswith("trained\n")
