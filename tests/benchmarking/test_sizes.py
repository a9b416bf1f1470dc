"""The sizes are those of the configs, and the weights are of their shapes."""

import dataclasses

import numpy as np
import pytest

from soundstorm_jax.audiolm import network as audiolm
from soundstorm_jax.benchmarking.sizes import (
  SIZES,
  parameter_count,
  random_soundstorm,
  random_stage,
  with_dtype,
)
from soundstorm_jax.soundstorm import network as soundstorm
from tests.test_configs import load


@pytest.mark.parametrize(
  ("size", "name"), [("tiny", "tiny"), ("paper", "librilight")]
)
def test_soundstorm_is_that_of_the_configs(size, name):
  model, config = SIZES[size].model, load(name).system.model
  # These matter to training alone; the program sets the last itself.
  conformer = dataclasses.replace(
    config.conformer, dropout=0.0, remat=False, dtype=model.conformer.dtype
  )
  assert model == dataclasses.replace(config, conformer=conformer)


def test_small_systems_are_of_one_width_and_depth():
  size = SIZES["small"]
  for stage in (size.audiolm.coarse, size.audiolm.fine):
    for name in ("dim", "layers", "heads", "ff_dim"):
      ours = getattr(size.model.conformer, name)
      assert ours == getattr(stage.transformer, name)


@pytest.mark.parametrize("size", list(SIZES))
def test_stages_are_those_of_the_configs(size):
  for stage in ("coarse", "fine"):
    ours = getattr(SIZES[size].audiolm, stage)
    config = load(f"audiolm_{stage}", size).system.model
    transformer = dataclasses.replace(
      config.transformer,
      dropout=0.0,
      remat=False,
      dtype=ours.transformer.dtype,
    )
    assert ours == dataclasses.replace(config, transformer=transformer)


def test_the_papers_codec_is_that_of_the_config():
  assert SIZES["paper"].codec == load("soundstream", "paper").system.model


@pytest.mark.parametrize("size", list(SIZES))
def test_both_systems_are_of_the_same_tokens(size):
  model, codec, stages = SIZES[size]
  for name in ("levels", "codes", "semantic_vocab"):
    assert getattr(model, name) == getattr(stages, name)
  assert (codec.levels, codec.codes) == (model.levels, model.codes)
  # As large as each other, by and large.
  ours = soundstorm.parameter_count(model)
  theirs = sum(
    audiolm.parameter_count(stage) for stage in (stages.coarse, stages.fine)
  )
  assert 0.5 < theirs / ours < 1.2


def test_random_weights_are_whole_and_finite():
  model, _, stages = with_dtype(SIZES["tiny"], "bfloat16")
  rng = np.random.default_rng(0)
  params = random_soundstorm(model, rng=rng)
  assert parameter_count(params) == soundstorm.parameter_count(model)
  params = random_stage(stages.fine, rng=rng)
  assert parameter_count(params) == audiolm.parameter_count(stages.fine)
  assert params["head_kernel"].dtype == "bfloat16"
  assert np.isfinite(np.asarray(params["head_kernel"], np.float32)).all()


def test_dtype_is_that_of_all_networks():
  size = with_dtype(SIZES["small"], "bfloat16")
  assert size.model.conformer.dtype == "bfloat16"
  assert size.audiolm.coarse.transformer.dtype == "bfloat16"
  assert size.audiolm.fine.transformer.dtype == "bfloat16"
  assert size.codec == SIZES["small"].codec
  with pytest.raises(ValueError, match="float32 or bfloat16, got 'float16'"):
    with_dtype(size, "float16")
