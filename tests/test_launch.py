"""The launch files: well formed, true to the programs, and strict."""

import math
import pathlib
import re
import shlex
import subprocess

import pytest
import yaml

_ROOT = pathlib.Path(__file__).parents[1]
_SCRIPT = _ROOT / "launch" / "queued_resource.sh"
_WHERE = ("--name=storm", "--project=my-project", "--zone=us-west4-a")
_TRAIN = (
  "--config=configs/librilight.py",
  "--workdir=gs://bucket/run",
  "--data=gs://bucket/tokens",
)


def _run(*arguments, check=True):
  return subprocess.run(
    ["bash", str(_SCRIPT), *arguments],
    capture_output=True,
    text=True,
    check=check,
    cwd=_ROOT,
    timeout=60,
  )


def _commands(*arguments):
  """The commands that a dry run prints, as lists of words."""
  lines = _run(*arguments, "--dry-run").stdout.splitlines()
  return [shlex.split(line) for line in lines]


def test_script_is_valid_bash():
  subprocess.run(["bash", "-n", str(_SCRIPT)], check=True)


@pytest.mark.parametrize("arguments", [(), ("--help",)])
def test_script_explains_itself(arguments):
  assert _run(*arguments).stdout.startswith("usage: ")


@pytest.mark.parametrize(
  ("kind", "image"),
  [
    ("v4-64", "tpu-ubuntu2204-base"),
    ("v5litepod-256", "v2-alpha-tpuv5-lite"),
    ("v5p-128", "v2-alpha-tpuv5"),
    ("v6e-64", "v2-alpha-tpuv6e"),
  ],
)
def test_create_asks_for_the_slice_with_its_own_image(kind, image):
  (command,) = _commands("create", *_WHERE, f"--type={kind}", "--spot")
  assert command[1:5] == ["compute", "tpus", "queued-resources", "create"]
  assert f"--accelerator-type={kind}" in command
  assert f"--runtime-version={image}" in command
  assert "--spot" in command


def test_train_runs_the_trainer_on_every_host():
  (command,) = _commands("train", *_WHERE, *_TRAIN)
  assert "--worker=all" in command
  assert command[-1].endswith(
    "python -m soundstorm_jax.train --config=configs/librilight.py "
    "--workdir=gs://bucket/run --config.data.path=gs://bucket/tokens "
    "--distributed"
  )


def test_install_uses_locked_packages_that_exist():
  commands = _commands("install", *_WHERE)
  locks = re.findall(r"requirements/\w+\.lock", commands[-1][-1])
  assert locks
  assert all((_ROOT / lock).is_file() for lock in locks)


@pytest.mark.parametrize(
  ("arguments", "complaint"),
  [
    (("fly", *_WHERE), "unknown action 'fly'"),
    (("status", *_WHERE, "--colour=red"), "unknown argument '--colour=red'"),
    (("status", *_WHERE[1:]), "status needs --name"),
    (("status", "--name=My;rm", *_WHERE[1:]), "got 'My;rm'"),
    (("status", *_WHERE[:2], "--zone=europe"), "got 'europe'"),
    (("create", *_WHERE), "create needs --type"),
    (("create", *_WHERE, "--type=v3-8"), "got 'v3-8'"),
    (("train", *_WHERE, *_TRAIN[1:]), "train needs --config"),
    (("train", *_WHERE, *_TRAIN, "--workdir=/home/me"), "got '/home/me'"),
    (
      ("train", *_WHERE, *_TRAIN, "--config=configs/a.py; reboot"),
      "got 'configs/a.py; reboot'",
    ),
  ],
)
def test_bad_arguments_are_refused_and_nothing_is_printed(arguments, complaint):
  result = _run(*arguments, "--dry-run", check=False)
  assert result.returncode == 2
  assert complaint in result.stderr
  assert result.stdout == ""


@pytest.fixture(scope="module")
def job():
  """The one replicated job of the JobSet."""
  jobset = yaml.safe_load((_ROOT / "launch/jobset.yaml").read_text("utf-8"))
  assert jobset["apiVersion"] == "jobset.x-k8s.io/v1alpha2"
  assert jobset["kind"] == "JobSet"
  (replicated,) = jobset["spec"]["replicatedJobs"]
  return replicated["template"]["spec"]


def test_jobset_has_a_host_for_every_four_chips_of_its_topology(job):
  pod = job["template"]["spec"]
  (container,) = pod["containers"]
  topology = pod["nodeSelector"]["cloud.google.com/gke-tpu-topology"]
  chips = math.prod(int(side) for side in topology.split("x"))
  per_host = container["resources"]["limits"]["google.com/tpu"]
  assert job["parallelism"] == job["completions"] == chips / per_host


def test_jobset_gives_the_trainer_flags_and_a_config_that_exist(job):
  (container,) = job["template"]["spec"]["containers"]
  flags = dict(
    argument.removeprefix("--").partition("=")[::2]
    for argument in container["args"]
  )
  assert set(flags) == {"config", "config.data.path", "workdir", "distributed"}
  assert (_ROOT / flags["config"]).is_file()


def test_dockerfile_copies_what_exists_and_starts_the_trainer():
  text = (_ROOT / "launch/Dockerfile").read_text("utf-8")
  for line in re.findall(r"^COPY (.+)$", text, re.MULTILINE):
    *sources, _ = line.split()
    assert all((_ROOT / source).exists() for source in sources)
  for lock in re.findall(r"requirements/\w+\.lock", text):
    assert (_ROOT / lock).is_file()
  assert 'ENTRYPOINT ["python", "-m", "soundstorm_jax.train"]' in text
