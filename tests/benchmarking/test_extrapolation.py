"""A run added up of its steps: by counts, and by what is timed."""

import jax
import jax.numpy as jnp
import pytest

from soundstorm_jax.audiolm.config import AudioLMSamplerConfig
from soundstorm_jax.audiolm.cost import count_work
from soundstorm_jax.audiolm.network import decoding_params
from soundstorm_jax.benchmarking import extrapolation
from soundstorm_jax.benchmarking.clock import Program, Times
from soundstorm_jax.benchmarking.extrapolation import Cost, StageClock, add_up
from soundstorm_jax.layers.config import TransformerConfig
from tests.audiolm.tiny_audiolm import both, make_params

STAGES = both(
  coarse=8,
  fine=5,
  transformer=TransformerConfig(dim=32, layers=1, heads=4, ff_dim=48),
)


def _work(**values):
  sampler = AudioLMSamplerConfig(overlap_frames=3, cache_segments=2, **values)
  return count_work(STAGES, sampler, frames=17, prompt_length=[0], length=[17])


@pytest.mark.parametrize("together", [True, False])
def test_a_run_is_the_sum_of_its_parts(together):
  work = _work(parallel_chunks=together)
  # Costs of which the sum is easily told: slots that are read, and passes.
  estimate = add_up(
    work,
    step=lambda stage, room: Cost(float(room), 1.0),
    prefill=lambda stage: Cost(1000.0, 1.0),
  )
  # Three windows of 16 tokens, of which the later two know 6 and the last
  # wants 14: with room for 8, 8 + 2 + 2 steps, with 16, 8 + 8 + 6.
  coarse = 3 * 1000 + 12 * 8 + 22 * 16
  # Chunks of 15 tokens, the last of 6: halves end at 8 and 15.
  fine = (
    1000 + 8 * 8 + 7 * 15
    if together
    else 4 * 1000 + (3 * 8 + 6) * 8 + 3 * 7 * 15
  )
  assert estimate.seconds == coarse + fine
  steps = 34 + (15 if together else 51)
  assert estimate.flops == steps + 3 + (1 if together else 4)
  assert sum(part.count for part in estimate.parts) == estimate.flops


def test_time_and_flops_of_steps(monkeypatch):
  stages = {"coarse": STAGES.coarse, "fine": STAGES.fine}
  params = {
    name: decoding_params(config, make_params(config))
    for name, config in stages.items()
  }
  compiled = []
  original = extrapolation.compile_program

  def compile_program(lower) -> Program:
    compiled.append(original(lower))
    return compiled[-1]

  # A clock by which a run takes 5 s and 2 s for each step.
  counts = []

  def turns(runs, **kwargs):
    codes = runs[""]()
    if isinstance(codes, jax.Array):
      counts.append(int(jnp.any(codes != 0, axis=0).sum()))
    return {"": Times((5.0 + 2.0 * counts[-1],), True, None, None)}

  monkeypatch.setattr(extrapolation, "compile_program", compile_program)
  monkeypatch.setattr(extrapolation, "time_in_turns", turns)
  clock = StageClock(params, steps=6, repeats=1)
  fine = _work()[1]
  first, last = (clock.step(fine, room) for room in (8, 15))
  # The 5 s, which are there once in a run, are no step's.
  assert counts == [6, 1, 6, 1]
  assert first.seconds == last.seconds == 2.0
  # A step that sees 7 slots more has two more products of them with all heads,
  # of width 32 for 4 chunks, and little else.
  more = 4 * 2 * 7 * 2 * 32
  assert more < last.flops - first.flops < 2 * more
  # What is known is not timed again.
  clock.step(fine, 15)
  assert len(compiled) == 2
