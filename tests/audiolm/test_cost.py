"""Work that is counted without running: the same as what runs."""

import collections
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from soundstorm_jax.audiolm import sampler
from soundstorm_jax.audiolm.config import (
  AudioLMConfig,
  AudioLMSamplerConfig,
  AudioLMStages,
)
from soundstorm_jax.audiolm.cost import Loop, count_work
from soundstorm_jax.audiolm.network import Caches
from soundstorm_jax.layers.attention import LayerCache
from tests.audiolm.tiny_audiolm import Q, V, both

# Windows of 8 frames that share 3 begin at 0, 5 and 10; chunks of 5 frames.
STAGES = both(coarse=8, fine=5)
T = 17


@pytest.fixture
def seen(monkeypatch):
  """What the samplers ask of their networks as they run, and how often."""
  seen = collections.Counter()

  def note(*what):
    jax.debug.callback(functools.partial(seen.update, [what]))

  def prefill(config, params, *, prefix, tokens):
    rows, slots = prefix.ids.shape
    slots += 1 + tokens.shape[1] * tokens.shape[2]
    note(config.stage, "prefill", rows, slots)
    cache = jnp.zeros((rows, slots, 1))
    return Caches((LayerCache(cache, cache),), jnp.zeros((1, 1)))

  def step_fn(config, params, *, prefix_valid):
    def step(cache, *, previous, index, write):
      rows, slots, _ = cache.layers[0].key.shape
      note(config.stage, "step", rows, slots)
      return jnp.zeros((rows, V)), cache

    return step

  monkeypatch.setattr(sampler, "prefill", prefill)
  monkeypatch.setattr(sampler, "step_fn", step_fn)
  return seen


@pytest.mark.parametrize(
  ("together", "length", "prompt_length", "prompt_frames"),
  [
    (False, [T], [0], 0),
    # A prefill longer than the first loops need; a row that is done early.
    (True, [17, 7], [0, 2], 6),
    (False, [16, 12], [9, 11], T),
  ],
)
def test_counted_work_is_what_runs(
  seen, together, length, prompt_length, prompt_frames
):
  settings = AudioLMSamplerConfig(
    overlap_frames=3, cache_segments=3, parallel_chunks=together
  )
  rows = len(length)
  tokens = sampler.make_sampler(STAGES, settings)(
    {"coarse": {}, "fine": {}},
    np.zeros((rows, T), np.int32),
    prompt=np.zeros((rows, prompt_frames, Q), np.int32),
    prompt_length=np.array(prompt_length, np.int32),
    length=np.array(length, np.int32),
    keys=jax.random.split(jax.random.key(0, impl="threefry2x32"), rows),
  )
  jax.block_until_ready(tokens)
  jax.effects_barrier()
  counted = collections.Counter()
  for work in count_work(
    STAGES,
    settings,
    frames=T,
    prompt_length=prompt_length,
    length=length,
    prompt_frames=prompt_frames,
  ):
    config = work.config
    slots = config.prefix_length(work.frames)
    known = slots + 1 + work.known_frames * config.target_levels
    counted[config.stage, "prefill", work.rows, known] += work.prefills
    for loop in work.loops:
      counted[config.stage, "step", work.rows, slots + loop.room] += loop.steps
  assert counted == seen


def test_loops_of_thirty_seconds():
  stages = AudioLMStages(
    AudioLMConfig(), AudioLMConfig(stage="fine", window_frames=150)
  )
  coarse, fine = count_work(
    stages,
    AudioLMSamplerConfig(),
    frames=1500,
    prompt_length=[0, 0],
    length=[1500, 1500],
  )
  # Four windows of 2,000 tokens, of which the later three know 600 and the last
  # wants 450 frames; every cache has room for these 600 and the start.
  assert coarse.loops == (
    Loop(601, 500),
    Loop(1000, 500 + 3 * 400),
    Loop(1500, 500 + 3 * 500),
    Loop(2000, 500 + 2 * 500 + 300),
  )
  assert coarse.steps == 6000
  # Ten chunks of two utterances at once.
  assert fine.rows == 20
  assert fine.loops == tuple(Loop(end, 300) for end in (300, 600, 900, 1200))
