"""The notebooks: stored clean, and running from top to bottom.

Without Jupyter: their cells run one after another in one process, within an
event loop, as a kernel's do.
"""

import json
import os
import pathlib
import subprocess
import sys

import pytest

from soundstorm_jax.speech.loading import SHIPPED_SAMPLER

_ROOT = pathlib.Path(__file__).parents[1]
_NOTEBOOKS = sorted((_ROOT / "notebooks").glob("*.ipynb"))

# What a notebook shows is counted, and must be what can be shown.
_RUN = """
import asyncio, json, pathlib, sys, types

def audio(data, rate):
  assert len(data) > rate / 10 and abs(data).max() > 0
  return "audio"

def image(path):
  assert pathlib.Path(path).read_bytes().startswith(b"\\x89PNG")
  return "image"

display = types.ModuleType("IPython.display")
display.Audio, display.Image = audio, image
display.display = lambda shown: print("shown:", shown)
# Not IPython itself, by which matplotlib would know a shell.
sys.modules["IPython.display"] = display

async def main():
  names = {"__name__": "__main__"}
  for number, source in enumerate(json.load(sys.stdin)):
    exec(compile(source, f"cell {number}", "exec"), names)
  print("done")

asyncio.run(main())
"""


def _load(path):
  return json.loads(path.read_text("utf-8"))


def _code(path):
  cells = _load(path)["cells"]
  return ["".join(c["source"]) for c in cells if c["cell_type"] == "code"]


def _execute(name, folder):
  """Runs a notebook in an empty folder; what it printed."""
  result = subprocess.run(
    [sys.executable, "-c", _RUN],
    input=json.dumps(_code(_ROOT / "notebooks" / f"{name}.ipynb")),
    cwd=folder,
    env={
      **os.environ,
      "JAX_PLATFORMS": "cpu",
      "MPLBACKEND": "Agg",
      # The package that is tested, from a folder that does not have it.
      "PYTHONPATH": str(_ROOT),
    },
    stdout=subprocess.PIPE,
    stderr=subprocess.STDOUT,
    text=True,
    check=False,
    # What a notebook may take on two cores.
    timeout=300,
  )
  assert result.returncode == 0, result.stdout[-4000:]
  assert result.stdout.startswith("Found: cpu, 1 x cpu")
  return result.stdout


def test_there_are_three():
  names = [path.stem for path in _NOTEBOOKS]
  assert names == ["benchmark", "quickstart", "training"]


@pytest.mark.parametrize("path", _NOTEBOOKS, ids=lambda path: path.stem)
def test_is_stored_clean(path):
  notebook = _load(path)
  assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
  assert notebook["metadata"]["kernelspec"]["language"] == "python"
  ids = [cell["id"] for cell in notebook["cells"]]
  assert len({*ids}) == len(ids)
  for cell in notebook["cells"]:
    assert cell["cell_type"] in ("code", "markdown")
    assert cell["metadata"] == {}
    assert all(isinstance(line, str) for line in cell["source"])
    if cell["cell_type"] == "code":
      assert cell["outputs"] == []
      assert cell["execution_count"] is None
      compile("".join(cell["source"]), cell["id"], "exec")
  # As an editor writes it, so that a change shows as one.
  text = json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"
  assert path.read_text("utf-8") == text


@pytest.mark.parametrize("path", _NOTEBOOKS, ids=lambda path: path.stem)
def test_first_cell_installs_what_is_missing_alone(
  path, monkeypatch, tmp_path, capsys
):
  first = _code(path)[0]
  called = []
  monkeypatch.setattr(subprocess, "check_call", called.append)
  exec(first, {})
  assert not called
  assert "Found: cpu, 1 x cpu" in capsys.readouterr().out
  monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
  for tools, package in (
    (None, "soundstorm-jax"),
    ("/usr/bin/nvidia-smi", "soundstorm-jax[cuda]"),
  ):
    monkeypatch.setattr("shutil.which", lambda name, tools=tools: tools)
    exec(first, {})
    assert called.pop()[1:] == ["-m", "pip", "install", "-q", package]


def test_quickstart_runs(tmp_path):
  text = _execute("quickstart", tmp_path)
  assert text.count("shown: audio") == 4
  # Guidance takes every pass twice.
  assert f"by {2 * SHIPPED_SAMPLER.passes} passes" in text
  assert (tmp_path / "converted.wav").stat().st_size > 16000


@pytest.mark.slow
def test_benchmark_runs(tmp_path):
  text = _execute("benchmark", tmp_path)
  assert text.count("shown: image") == 1
  assert "Time of AudioLM over that of SoundStorm" in text
  rows = json.loads(
    (tmp_path / "benchmark_output" / "report.json").read_text("utf-8")
  )["rows"]
  assert {row["system"] for row in rows if row["seconds"] == 6} == {
    "soundstorm",
    "audiolm",
    "audiolm_batched",
  }


@pytest.mark.slow
def test_training_runs(tmp_path):
  text = _execute("training", tmp_path)
  assert text.count("shown: audio") == 2
  assert "28 utterances to train on" in text
  made = tmp_path / "training_notebook"
  assert (made / "weights" / "soundstorm.safetensors").is_file()
