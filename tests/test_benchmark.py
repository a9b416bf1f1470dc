"""The benchmark says what it did; times are nobody's to assert."""

import dataclasses
import json

import pytest

from soundstorm_jax import benchmark as program
from soundstorm_jax.benchmark import SIZES, Size, benchmark
from soundstorm_jax.models.soundstorm import parameter_count
from tests.test_configs import load
from tests.tiny_weights import CODEC, MODEL


def test_counts_and_times_agree():
  speed = benchmark(Size(MODEL, CODEC), seconds=0.2, batch_size=2, repeats=3)
  assert speed.parameters == parameter_count(MODEL)
  assert speed.frames == 10
  assert speed.tokens == 2 * 10 * MODEL.levels
  assert speed.audio_s == 2 * 0.2
  assert speed.passes == 16 + MODEL.levels - 1
  assert len(speed.runs_s) == 3
  assert speed.sample_s == sorted(speed.runs_s)[1]
  assert speed.pass_s == pytest.approx(speed.sample_s / speed.passes)
  assert speed.tokens_per_s == pytest.approx(speed.tokens / speed.sample_s)
  assert speed.real_time_factor == pytest.approx(
    (speed.sample_s + speed.codec_s) / 0.4
  )
  # A run is thousands of times shorter than its compilation.
  assert max(speed.runs_s) < speed.compile_s
  assert speed.peak_rss >= speed.peak_rss_before_run > 100e6


@pytest.mark.parametrize(
  ("values", "message"),
  [
    ({"seconds": 0.001}, "seconds in frames must be at least 1, got 0"),
    ({"seconds": 1.0, "batch_size": 0}, "batch_size must be at least 1, got 0"),
    ({"seconds": 1.0, "repeats": 0}, "repeats must be at least 1, got 0"),
  ],
)
def test_refuses_nothing_to_do(values, message):
  with pytest.raises(ValueError, match=message):
    benchmark(Size(MODEL, CODEC), **values)


def test_program_says_that_weights_are_random(monkeypatch, capsys):
  monkeypatch.setitem(SIZES, "tiny", Size(MODEL, CODEC))
  program.main(["--size=tiny", "--seconds=0.1"])
  *text, line = capsys.readouterr().out.splitlines()
  assert "RANDOM weights" in "\n".join(text)
  assert "18 passes" in "\n".join(text)
  values = json.loads(line)
  assert values["random_weights"] is True
  assert values["frames"] == 5
  assert values["size"] == "tiny"


def test_sizes_are_those_of_the_configs():
  for size, name in (
    ("tiny", "tiny"),
    ("small", "small"),
    ("paper", "librilight"),
  ):
    model, config = SIZES[size].model, load(name).soundstorm
    # These matter to training alone; the program sets the last itself.
    conformer = dataclasses.replace(
      config.conformer, dropout=0.0, remat=False, dtype=model.conformer.dtype
    )
    assert model == dataclasses.replace(config, conformer=conformer)
  assert SIZES["small"].codec == load("soundstream", "small").soundstream
  assert SIZES["paper"].codec == load("soundstream", "paper").soundstream
