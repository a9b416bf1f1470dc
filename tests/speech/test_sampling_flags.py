"""A sampler's settings from a program's arguments."""

import argparse

import pytest

from soundstorm_jax.soundstorm.config import SamplerConfig
from soundstorm_jax.speech import sampling_flags

MODEL = SamplerConfig(iterations=(4, 2, 1))


def parsed(*arguments):
  parser = argparse.ArgumentParser()
  sampling_flags.add_arguments(parser.add_argument)
  return sampling_flags.with_arguments(MODEL, parser.parse_args(arguments))


def test_what_is_not_given_is_the_models():
  assert parsed() == MODEL
  assert parsed("--guidance_scale=2").guidance_scale == 2
  assert parsed("--guidance_scale=2").iterations == MODEL.iterations


@pytest.mark.parametrize(
  ("text", "iterations"),
  [("16", (16, 1, 1)), ("16,2", (16, 2, 1)), ("1,1,3", (1, 1, 3))],
)
def test_missing_levels_take_one_pass(text, iterations):
  assert parsed(f"--iterations={text}").iterations == iterations


def test_refuses_what_is_no_plan(capsys):
  with pytest.raises(SystemExit):
    parsed("--iterations=1,x")
  complaint = capsys.readouterr().err
  assert "--iterations: '1,x' must be values parted by commas" in complaint
  with pytest.raises(ValueError, match="at most 3 levels"):
    parsed("--iterations=1,1,1,1")
  with pytest.raises(ValueError, match="iterations must be at least 1"):
    parsed("--iterations=1,0")


def test_in_words():
  paper = sampling_flags.in_words(SamplerConfig(iterations=(16, 1)))
  assert paper == "17 passes: (16, 1), temperature 1"
  guided = parsed("--guidance_scale=2", "--temperature=0.8")
  assert sampling_flags.in_words(guided) == (
    "7 passes: (4, 2, 1), each with guidance 2, temperature 0.8"
  )
