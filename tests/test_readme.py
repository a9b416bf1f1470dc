"""The README says what is true: its code runs, its links and targets exist."""

import os
import pathlib
import re
import subprocess
import sys

import pytest

_ROOT = pathlib.Path(__file__).parents[1]
_README = (_ROOT / "README.md").read_text("utf-8")
_BLOCKS = re.findall(
  r"^```(\w*)\n(.*?)^```$", _README, re.DOTALL | re.MULTILINE
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  """An empty place with the repository's folders that the README names."""
  folder = tmp_path_factory.mktemp("readme")
  for name in ("configs", "soundstorm_jax"):
    (folder / name).symlink_to(_ROOT / name, target_is_directory=True)
  return folder


def _run(language, code, folder):
  """Runs a block as a reader would, with this Python as `python`."""
  path = pathlib.Path(sys.executable).parent
  command = {
    "python": [sys.executable, "-c", code],
    "bash": ["bash", "-euo", "pipefail", "-c", code],
  }[language]
  return subprocess.run(
    command,
    cwd=folder,
    env={
      **os.environ,
      "PATH": f"{path}{os.pathsep}{os.environ['PATH']}",
      "JAX_PLATFORMS": "cpu",
      "JAX_COMPILATION_CACHE_DIR": str(folder / "compiled"),
    },
    stdout=subprocess.PIPE,
    stderr=subprocess.STDOUT,
    text=True,
    check=False,
    timeout=900,
  )


def test_code_blocks_run_in_order(folder):
  runnable = [block for block in _BLOCKS if block[0] in ("python", "bash")]
  assert [language for language, _ in runnable].count("python") >= 1
  assert [language for language, _ in runnable].count("bash") >= 3
  for language, code in runnable:
    result = _run(language, code, folder)
    assert result.returncode == 0, f"{code}\n{result.stdout[-4000:]}"
  assert (folder / "converted.wav").stat().st_size > 16000
  assert len(list((folder / "generated").rglob("*.wav"))) == 4


def test_make_targets_exist():
  makefile = (_ROOT / "Makefile").read_text("utf-8")
  targets = re.findall(r"^make (\w+)", _README, re.MULTILINE)
  assert targets
  for target in targets:
    assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_links_within_the_repository_lead_somewhere():
  links = re.findall(r"\]\((?!https?://)([^)#]+)\)", _README)
  assert links
  for link in links:
    assert (_ROOT / link).exists(), link


def test_programs_of_the_table_exist():
  """And those are all that there are."""
  names = re.findall(r"^\| `([\w.]+)` \|", _README, re.MULTILINE)
  package = _ROOT / "soundstorm_jax"
  programs = {
    ".".join(path.relative_to(package).with_suffix("").parts)
    for path in package.rglob("*.py")
    if 'if __name__ == "__main__"' in path.read_text("utf-8")
  }
  programs = {name.removesuffix(".__main__") for name in programs}
  assert set(names) == programs - {"demo.make_speech"}


def test_configs_it_names_exist():
  names = set(re.findall(r"(?:configs/)?(\w+\.py)", _README))
  assert {"tiny.py", "small.py", "librilight.py", "soundstream.py"} <= names
  for name in names - {"setup.py"}:
    assert (_ROOT / "configs" / name).is_file(), name
