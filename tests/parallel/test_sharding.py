"""Eight simulated devices: needs a process of its own."""

import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[2]


@pytest.mark.parametrize("script", ["sharded_equals_single", "drawn_on_mesh"])
def test_sharded_equals_single(script):
  path = pathlib.Path(__file__).with_name(f"{script}.py")
  environment = os.environ | {
    # Compilation is nearly all of the time, and need not be thorough.
    "XLA_FLAGS": "--xla_force_host_platform_device_count=8 "
    "--xla_backend_optimization_level=0",
    "JAX_PLATFORMS": "cpu",
    "PYTHONPATH": str(ROOT),
  }
  done = subprocess.run(
    [sys.executable, str(path)],
    env=environment,
    capture_output=True,
    text=True,
    check=False,
  )
  assert done.returncode == 0, done.stderr[-3000:]
  assert done.stdout.endswith("equal\n")
