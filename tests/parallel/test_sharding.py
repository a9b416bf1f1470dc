"""Eight simulated devices: needs a process of its own."""

import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).parents[2]


def test_sharded_equals_single():
  script = pathlib.Path(__file__).with_name("sharded_equals_single.py")
  environment = os.environ | {
    # Compilation is nearly all of the time, and need not be thorough.
    "XLA_FLAGS": "--xla_force_host_platform_device_count=8 "
    "--xla_backend_optimization_level=0",
    "JAX_PLATFORMS": "cpu",
    "PYTHONPATH": str(ROOT),
  }
  done = subprocess.run(
    [sys.executable, str(script)],
    env=environment,
    capture_output=True,
    text=True,
    check=False,
  )
  assert done.returncode == 0, done.stderr[-3000:]
  assert done.stdout.endswith("equal\n")
