"""launch/small.sh, with a stand-in for Python that trains nothing."""

import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest
from absl import flags
from ml_collections import config_flags

from soundstorm_jax.train import read_config

_ROOT = pathlib.Path(__file__).parents[1]
_SCRIPT = _ROOT / "launch" / "small.sh"
_PARTS = ("soundstream", "soundstorm", "audiolm_coarse", "audiolm_fine")
# Notes its arguments. To train is what $RUN says, then a checkpoint.
_PYTHON = """#!/usr/bin/env bash
printf '%s\\t' "$@" >>"$CALLS"
echo >>"$CALLS"
for argument in "$@"; do
  case "$argument" in
    --workdir=*) workdir=${argument#*=} ;;
  esac
done
if [[ $2 == soundstorm_jax.train ]]; then
  mkdir -p "$workdir/checkpoints"
  eval "$RUN"
  mkdir -p "$workdir/checkpoints/20"
fi
"""


@pytest.fixture
def script(tmp_path):
  return _Script(tmp_path)


class _Script:
  """The script in a folder of its own.

  Attributes:
    folder: where it writes.
  """

  def __init__(self, folder):
    self.folder = folder
    self._calls = folder / "calls"
    self._python = folder / "python"
    self._python.write_text(_PYTHON, encoding="utf-8")
    self._python.chmod(0o755)

  def start(self, *arguments, run=""):
    """Starts it with what it needs and more arguments."""
    self._calls.unlink(missing_ok=True)
    needed = [
      f"--{name}={self.folder / name}"
      for name in ("speech", "tokens", "teacher", "output")
    ]
    return subprocess.Popen(
      ["bash", str(_SCRIPT), *needed, *arguments],
      stderr=subprocess.PIPE,
      text=True,
      # Relative paths are those of the caller's folder.
      cwd=self.folder,
      env={
        "PATH": os.environ["PATH"],
        "PYTHON": str(self._python),
        "CALLS": str(self._calls),
        "RUN": run,
      },
      # Tests that run in the background ignore SIGINT, and a shell cannot trap
      # what it was told to ignore.
      preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )

  def run(self, *arguments, run=""):
    """Runs it; its status and what it complains of."""
    process = self.start(*arguments, run=run)
    _, errors = process.communicate(timeout=60)
    return process.returncode, errors

  def calls(self):
    """(program, flags) of each call, without the package's name."""
    if not self._calls.exists():
      return []
    lines = self._calls.read_text(encoding="utf-8").splitlines()
    calls = []
    for line in lines:
      _, module, *arguments = line.rstrip("\t").split("\t")
      calls.append((module.removeprefix("soundstorm_jax."), arguments))
    return calls

  def programs(self):
    return [program for program, _ in self.calls()]


def _config(arguments, monkeypatch):
  """What `train` would make of flags."""
  values = flags.FlagValues()
  holder = config_flags.DEFINE_config_file("config", flag_values=values)
  flags.DEFINE_string("workdir", None, "", flag_values=values)
  # The config's fields become flags by a look at these.
  monkeypatch.setattr(sys, "argv", ["train", *arguments])
  values(sys.argv)
  return read_config(holder.value.to_dict())


@pytest.mark.parametrize(
  ("arguments", "message"),
  [
    (["--colour=red"], "unknown argument --colour=red"),
    (["--teacher="], "--teacher is needed"),
    (["--seconds=9"], "at least 10, got 9"),
    (["--seconds=0540"], "at least 10, got 0540"),
  ],
)
def test_wrong_arguments_are_refused_before_anything_is_trained(
  script, arguments, message
):
  status, errors = script.run(*arguments)
  assert status == 2
  assert message in errors
  assert script.calls() == []


@pytest.mark.parametrize("size", [[], ["--tiny"]])
def test_trains_and_exports_each_part_with_flags_that_train_takes(
  script, size, monkeypatch
):
  assert script.run("--held_out=a,b", *size)[0] == 0
  assert script.programs() == ["train", "export"] * 4
  trained = [
    arguments for program, arguments in script.calls() if program == "train"
  ]
  codec, storm, coarse, fine = (
    _config(arguments, monkeypatch) for arguments in trained
  )
  assert codec.task == "soundstream"
  assert codec.data.on_device
  assert codec.data.held_out_speakers == ("a", "b")
  assert codec.data.path == str(script.folder / "speech")
  assert codec.system.teacher == str(script.folder / "teacher")
  # The discriminators join within the run.
  assert codec.system.adversarial_start < codec.steps
  assert storm.system.codec_weights == str(
    script.folder / "output" / "soundstream.safetensors"
  )
  assert (coarse.system.model.stage, fine.system.model.stage) == (
    "coarse",
    "fine",
  )
  for config in (storm, coarse, fine):
    assert config.data.path == str(script.folder / "tokens")
  workdirs = [arguments[0].rpartition("/")[2] for arguments in trained]
  assert tuple(workdirs) == _PARTS


def test_parts_whose_steps_are_done_are_not_run_again(script):
  assert script.run()[0] == 0
  (script.folder / "output" / "soundstorm" / "finished").unlink()
  assert script.run()[0] == 0
  assert script.programs() == ["train", "export"]


def test_a_part_whose_time_is_over_is_exported_and_goes_on_later(script):
  part_way = "[[ $workdir == */soundstorm ]] && sleep 30"
  # It waits for its signal, as training does, and then saves.
  saves = f"trap 'kill %1' TERM; ({part_way}) & wait; wait"
  assert script.run("--seconds=10", run=saves)[0] == 0
  assert script.programs() == ["train", "export"] * 4
  assert script.run()[0] == 0
  assert script.programs() == ["train", "export"]


def test_time_that_is_over_before_the_first_step_is_said(script):
  status, errors = script.run("--seconds=10", run="sleep 30")
  assert status == 1
  assert "soundstream: 3 s were over before the first step" in errors
  assert script.programs() == ["train"]


def test_a_failure_ends_the_script_with_its_status(script):
  status, errors = script.run(run="exit 7")
  assert status == 7
  assert "soundstream failed, with status 7" in errors
  assert script.programs() == ["train"]


@pytest.mark.parametrize(
  ("number", "expected"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)]
)
def test_a_signal_lets_the_run_save_and_ends_the_script(
  script, number, expected
):
  process = script.start(run="trap 'kill %1' TERM; sleep 30 & wait; wait")
  deadline = time.monotonic() + 30
  while not script.calls() and time.monotonic() < deadline:
    time.sleep(0.05)
  # The stand-in notes its call just before it waits for a signal.
  time.sleep(0.5)
  process.send_signal(number)
  assert process.wait(timeout=20) == expected
  process.stderr.close()
  assert script.programs() == ["train"]
  assert (script.folder / "output/soundstream/checkpoints/20").is_dir()
  assert not (script.folder / "output/soundstream/finished").exists()
