"""Clock and memory: what counts as a run, what is a loop's body."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from soundstorm_jax.benchmarking import clock


@pytest.fixture
def ticking(monkeypatch):
  """Time that only functions under test let pass."""
  now = [0.0]
  monkeypatch.setattr(clock.time, "perf_counter", lambda: now[0])

  def pass_time(name, seconds, called):
    def run():
      called.append(name)
      now[0] += seconds.pop(0)

    return run

  return pass_time


def test_turns_after_a_run_that_does_not_count(ticking):
  called = []
  times = clock.time_in_turns(
    {
      "a": ticking("a", [9.0, 3.0, 1.0, 2.0], called),
      "b": ticking("b", [5.0, 4.0, 4.0, 4.0], called),
    },
    repeats=3,
    limit_s=10.0,
  )
  assert called == ["a", "b"] * 4
  assert times["a"].runs_s == (3.0, 1.0, 2.0)
  assert times["a"].median_s == 2.0
  assert times["b"].median_s == 4.0
  assert times["a"].warm


def test_a_run_over_the_limit_is_the_only_one(ticking):
  called = []
  times = clock.time_in_turns(
    {
      "long": ticking("long", [10.5], called),
      "short": ticking("short", [1.0, 2.0], called),
    },
    repeats=1,
    limit_s=10.0,
  )
  assert called == ["long", "short", "short"]
  assert times["long"].runs_s == (10.5,)
  assert not times["long"].warm
  assert times["short"].runs_s == (2.0,)


@pytest.mark.skipif(
  not clock._forget_peak(), reason="this system's peaks cannot be reset"
)
def test_peak_of_the_process_is_that_of_the_runs():
  large = 300_000_000
  np.ones(large, np.uint8)
  times = clock.time_in_turns(
    {
      "little": lambda: np.ones(1000),
      "much": lambda: np.ones(large, np.uint8),
    },
    repeats=1,
    limit_s=100.0,
  )
  little, much = (times[k].peak_process_bytes for k in ("little", "much"))
  assert much - little > 0.9 * large


def test_flops_and_bytes_of_a_program():
  size, steps = 64, 10
  matrix = jnp.ones((size, size))

  @jax.jit
  def products(x):
    return jax.lax.fori_loop(0, steps, lambda i, y: y @ x, x)

  program = clock.compile_program(lambda: products.lower(matrix))
  # Why a benchmark must multiply: the body counts once.
  one = 2 * size**3
  assert one <= program.flops < 1.1 * one
  assert program.bytes >= 2 * 4 * size**2
  assert program.compile_s > 0


def test_flops_that_compilation_hides_are_those_before_it():
  class Stage:
    def __init__(self, flops):
      self.flops = flops

    def cost_analysis(self):
      return {"flops": self.flops}

  def flops(before, after):
    return clock.Program(Stage(before), Stage(after), 0.0).flops

  assert flops(100.0, 90.0) == 90.0
  assert flops(100.0, 120.0) == 120.0
  # A library's product, of which XLA knows nothing.
  assert flops(100.0, 3.0) == 100.0


def test_peak_of_products(monkeypatch):
  monkeypatch.setattr(clock, "_SMALLEST_PRODUCT", 128)
  monkeypatch.setattr(clock, "_LARGEST_PRODUCT", 256)
  peak = clock.matmul_peak("float32")
  assert peak.size in (128, 256)
  # Between a pocket calculator and what no device has.
  assert 1e7 < peak.flops_per_s < 1e17
