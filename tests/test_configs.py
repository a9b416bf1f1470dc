"""Every config file becomes a config, and says what it should."""

import dataclasses
import importlib.util
import pathlib

import pytest

from soundstorm_jax.soundstorm.network import parameter_count
from soundstorm_jax.train import SYSTEMS, read_config

FOLDER = pathlib.Path(__file__).parents[1] / "configs"


def load(name, *args):
  path = FOLDER / f"{name}.py"
  spec = importlib.util.spec_from_file_location(name, path)
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return read_config(module.get_config(*args).to_dict())


@pytest.mark.parametrize("name", sorted(p.stem for p in FOLDER.glob("*.py")))
def test_becomes_a_config(name):
  config = load(name)
  assert type(config.system) is SYSTEMS[config.task].settings


def test_every_system_has_a_config():
  named = {load(path.stem).task for path in FOLDER.glob("*.py")}
  named.add(load("semantic_encoder", "tokens").task)
  assert named == set(SYSTEMS)


def test_a_setting_of_another_system_is_refused():
  values = {"task": "audiolm", "system": {"masking": {"coarse_bias": 1.0}}}
  with pytest.raises(ValueError, match="has no field masking"):
    read_config(values)


def test_an_unknown_task_is_refused():
  with pytest.raises(ValueError, match=r"task must be one of .*, got 'x'"):
    read_config({"task": "x"})


def test_the_tokens_are_those_of_the_encoder():
  encoder, tokens = load("semantic_encoder"), load("semantic_encoder", "tokens")
  assert tokens.task == "semantic_tokens"
  start = tokens.system.start
  assert start
  assert dataclasses.replace(encoder.system, start=start) == tokens.system


def test_small_has_the_size_it_says():
  count = parameter_count(load("small").system.model)
  assert count == pytest.approx(26.9e6, abs=0.05e6)


def test_tiny_takes_its_steps():
  assert load("tiny", "120").steps == 120


def test_librilight_is_the_paper():
  config = load("librilight")
  count = parameter_count(config.system.model)
  assert count == pytest.approx(350e6, rel=0.02)
  assert config.data.window_seconds == 30
  assert config.system.model.conformer.dtype == "bfloat16"
