"""The pages in docs/ and the model card: their commands parse, links exist.

Nothing that they name is run.
"""

import argparse
import importlib
import importlib.util
import pathlib
import re
import shlex

import pytest
from absl import flags

from soundstorm_jax.config import TrainConfig, to_mapping
from soundstorm_jax.train import SYSTEMS

_ROOT = pathlib.Path(__file__).parents[1]
_CARD = _ROOT / "soundstorm_jax" / "shipped" / "small" / "README.md"
_PAGES = [*sorted((_ROOT / "docs").glob("*.md")), _CARD]
_TEXTS = {page.name: page.read_text("utf-8") for page in _PAGES}


def _blocks(language):
  pattern = rf"^```{language}\n(.*?)^```$"
  for text in _TEXTS.values():
    yield from re.findall(pattern, text, re.DOTALL | re.MULTILINE)


_COMMANDS = [
  command
  for block in _blocks("bash")
  for command in block.replace("\\\n", " ").splitlines()
  if command
]


class _Parsed(Exception):
  """The arguments are those of the program."""


@pytest.fixture
def only_parse(monkeypatch):
  parse = argparse.ArgumentParser.parse_args

  def parse_and_stop(*args, **kwargs):
    raise _Parsed(parse(*args, **kwargs))

  monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parse_and_stop)


def _program(path):
  spec = importlib.util.spec_from_file_location(path.stem, path)
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module


def test_there_are_commands():
  assert len(_COMMANDS) > 10


@pytest.mark.parametrize("command", _COMMANDS)
def test_command_parses(command, only_parse):
  match shlex.split(command):
    case ["python", "-m", "soundstorm_jax.train", *argv]:
      _check_training(argv)
    case ["python", "-m", "pytest", *argv]:
      assert (_ROOT / argv[-1]).is_file()
    case ["python", "-m", name, *argv]:
      assert name.startswith("soundstorm_jax.")
      with pytest.raises(_Parsed):
        importlib.import_module(name).main(argv)
    case ["launch/small.sh", *argv]:
      # tests/test_small_script.py has what it refuses.
      script = (_ROOT / "launch" / "small.sh").read_text("utf-8")
      for argument in argv:
        name, _, _ = argument.partition("=")
        assert f"{name}=*)" in script
    case ["python", path, *argv]:
      with pytest.raises(_Parsed):
        _program(_ROOT / path).main(argv)
    case _:
      pytest.fail(f"what is {command}?")


def _check_training(argv):
  importlib.import_module("soundstorm_jax.train")
  fields = {}
  for argument in argv:
    name, _, value = argument.removeprefix("--").partition("=")
    if name == "config":
      path, _, argument = value.partition(":")
      config = _program(_ROOT / path)
      fields = config.get_config(*[argument] if argument else []).to_dict()
    elif name.startswith("config."):
      _field(fields, name.removeprefix("config."))
    else:
      assert name in flags.FLAGS, argument


def _field(fields, name):
  """What a dotted name stands for."""
  for part in name.split("."):
    fields = fields[part]
  return fields


def test_fields_of_configs_exist():
  """Of every run, or of one of the systems."""
  runs = [
    to_mapping(TrainConfig(system=system.settings()))
    for system in SYSTEMS.values()
  ]
  names = re.findall(
    r"`((?:data|optimizer|system)\.[\w.]+)`", "".join(_TEXTS.values())
  )
  assert len(names) > 5
  for name in names:
    assert any(_has(fields, name) for fields in runs), name


def _has(fields, name):
  try:
    _field(fields, name)
  except (KeyError, TypeError):
    return False
  return True


def test_code_compiles():
  blocks = list(_blocks("python"))
  assert blocks
  for block in blocks:
    compile(block, "a page", "exec")


@pytest.mark.parametrize("page", _PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
  text = _TEXTS[page.name]
  for link in re.findall(r"\]\((?!https?://)([^)]+)\)", text):
    path, _, anchor = link.partition("#")
    target = page.parent / path if path else page
    assert target.exists(), link
    if anchor:
      headings = re.findall(r"^#+ (.*)$", target.read_text("utf-8"), re.M)
      anchors = [
        re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-")
        for heading in headings
      ]
      assert anchor in anchors, link


def test_files_that_are_named_exist():
  text = "".join(_TEXTS.values())
  names = re.findall(r"`((?:tests|configs|docs)/[\w/]+\.py)", text)
  assert names
  for name in names:
    assert (_ROOT / name).is_file(), name
  house = _TEXTS["architecture.md"]
  for name in re.findall(r"\b(?:[a-z_0-9]+/)+[\w]+\.py\b", house):
    package = _ROOT / "soundstorm_jax"
    assert any((at / name).is_file() for at in (package, _ROOT)), name
