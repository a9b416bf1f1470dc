"""Every config file becomes a config, and says what it should."""

import importlib.util
import pathlib

import pytest

from soundstorm_jax.config import TrainConfig, from_mapping
from soundstorm_jax.models.soundstorm import parameter_count

FOLDER = pathlib.Path(__file__).parents[1] / "configs"


def load(name, *args):
  path = FOLDER / f"{name}.py"
  spec = importlib.util.spec_from_file_location(name, path)
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return from_mapping(TrainConfig, module.get_config(*args).to_dict())


@pytest.mark.parametrize("name", sorted(p.stem for p in FOLDER.glob("*.py")))
def test_becomes_a_config(name):
  tasks = (
    "soundstorm",
    "audiolm",
    "soundstream",
    "semantic_encoder",
    "semantic_tokens",
    "kmeans",
  )
  assert load(name).task in tasks


def test_the_tokens_are_those_of_the_encoder():
  encoder, tokens = load("semantic_encoder"), load("semantic_encoder", "tokens")
  assert tokens.task == "semantic_tokens"
  assert tokens.semantic_encoder == encoder.semantic_encoder
  assert tokens.semantic_training == encoder.semantic_training


def test_small_has_the_size_it_says():
  count = parameter_count(load("small").soundstorm)
  assert count == pytest.approx(26.9e6, abs=0.05e6)


def test_tiny_takes_its_steps():
  assert load("tiny", "120").steps == 120


def test_librilight_is_the_paper():
  config = load("librilight")
  count = parameter_count(config.soundstorm)
  assert count == pytest.approx(350e6, rel=0.02)
  assert config.data.window_seconds == 30
  assert config.soundstorm.conformer.dtype == "bfloat16"
