"""One shape is measured, and which shapes there are."""

import numpy as np

from soundstorm_jax.benchmarking import clock
from soundstorm_jax.benchmarking.extrapolation import Cost, Estimate, Part
from soundstorm_jax.benchmarking.measure import (
  Settings,
  make_systems,
  measure_shape,
  shapes,
)
from soundstorm_jax.benchmarking.systems import (
  Prepared,
  SoundStormSystem,
  make_inputs,
)
from soundstorm_jax.soundstream.codec import Codec
from tests.audiolm import tiny_audiolm
from tests.audiolm.tiny_audiolm import Q
from tests.benchmarking.tiny_size import TINY


def test_forms_of_audiolm_differ_in_their_chunks():
  made = make_systems(
    Settings(systems=("audiolm_batched", "audiolm")),
    TINY,
    rng=np.random.default_rng(0),
  )
  inputs = make_inputs(
    TINY, batch_size=2, frames=5, rng=np.random.default_rng(0)
  )
  levels = Q - tiny_audiolm.COARSE
  for name, rows, steps in (("audiolm", 2, 5), ("audiolm_batched", 4, 3)):
    coarse, fine = made[name].work(inputs)
    assert (coarse.rows, coarse.steps) == (2, 5 * tiny_audiolm.COARSE)
    assert (fine.rows, fine.steps) == (rows, steps * levels)


def test_what_would_take_too_long_is_not_run():
  estimate = Estimate((Part("fine", "step", 1, 9, 100, Cost(0.5, 1e6)),))
  ran = []

  class Fake(SoundStormSystem):
    def __init__(self, name, estimate=None):
      self._name, self._estimate = name, estimate

    def prepare(self, inputs):
      return Prepared(
        compile_s=1.0,
        bytes=None,
        run=lambda: ran.append(self._name),
        passes=100,
        flops=1.0,
        estimate=self._estimate,
      )

  class Silent(Codec):
    def __init__(self):
      pass

    def compile_decode(self, rows, *, frames, levels):
      return lambda tokens: tokens

  def rows(limit):
    ran.clear()
    return measure_shape(
      {"soundstorm": Fake("ours"), "audiolm": Fake("theirs", estimate)},
      Silent(),
      TINY,
      settings=Settings(repeats=1, limit_seconds=limit),
      peak=clock.Peak(1e9, 1),
      seconds=0.1,
      batch_size=1,
    )

  ours, theirs = rows(49.0)
  assert ran == ["ours", "ours"]
  assert (ours.extrapolated, theirs.extrapolated) == (False, True)
  assert theirs.sample_s == 50.0
  assert not any(row.extrapolated for row in rows(50.0))
  assert ran == ["ours", "theirs"] * 2


def test_shapes_and_who_is_measured_there():
  settings = Settings(
    seconds=(3.0, 1.0),
    long_seconds=(60.0, 3.0),
    batch_sizes=(1, 4),
    systems=("soundstorm", "audiolm"),
  )
  both, ours = ["soundstorm", "audiolm"], ["soundstorm"]
  expected = [(1.0, both), (3.0, both), (60.0, ours)]
  assert list(shapes(settings)) == [
    (batch, seconds, names) for batch in (1, 4) for seconds, names in expected
  ]
  settings = Settings(
    seconds=(1.0,), long_seconds=(60.0,), systems=("audiolm",)
  )
  assert list(shapes(settings)) == [(1, 1.0, ["audiolm"])]
