"""Both stages' samplers: windows, chunks, rows, and a slow reference."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from soundstorm_jax.audiolm.conditioning import conditioning
from soundstorm_jax.audiolm.config import (
  AudioLMConfig,
  AudioLMSamplerConfig,
  AudioLMStages,
)
from soundstorm_jax.audiolm.cost import Passes, count_passes, make_steps
from soundstorm_jax.audiolm.network import decoding_params
from soundstorm_jax.audiolm.sampler import make_sampler
from tests.audiolm.tiny_audiolm import (
  COARSE,
  SEMANTIC,
  Q,
  V,
  both,
  make_params,
  whole_pass,
)

T = 17
# Windows of 8 frames that share 3 begin at 0, 5 and 10; chunks of 5 frames.
STAGES = both(coarse=8, fine=5)
SAMPLER = AudioLMSamplerConfig(overlap_frames=3, cache_segments=2)
# The whole without a prompt; a prompt longer than a window; a short one that
# ends in a window's overlap; a dummy row.
LENGTH = np.array([17, 16, 7, 0])
PROMPT_LENGTH = np.array([0, 9, 2, 0])


@pytest.fixture(scope="module")
def params():
  return {
    name: make_params(getattr(STAGES, name), seed=seed)
    for seed, name in enumerate(("coarse", "fine"))
  }


@pytest.fixture(scope="module")
def requests():
  rng = np.random.default_rng(0)
  return dict(
    semantic=rng.integers(0, SEMANTIC, (4, T), np.int32),
    prompt=rng.integers(0, V, (4, T, Q), np.int32),
    prompt_length=PROMPT_LENGTH.astype(np.int32),
    length=LENGTH.astype(np.int32),
    keys=jax.random.split(jax.random.key(5, impl="threefry2x32"), 4),
  )


@functools.cache
def sampler_of(settings=SAMPLER):
  return make_sampler(STAGES, settings)


def run(params, requests, settings=SAMPLER):
  ready = {
    name: decoding_params(getattr(STAGES, name), params[name])
    for name in params
  }
  return np.asarray(sampler_of(settings)(ready, **requests))


@pytest.fixture(scope="module")
def tokens(params, requests):
  return run(params, requests)


def reference_piece(
  config, params, *, semantic, acoustic, known, key, offset, temperature
):
  """Tokens of one window or chunk of one row, without a cache."""
  frames, levels = len(acoustic), config.target_levels
  first = config.first_level
  acoustic = acoustic.copy()
  size = config.window_frames

  # One shape for all, which is compiled once.
  def fill(x):
    return np.pad(x, ((0, size - len(x)),) + ((0, 0),) * (x.ndim - 1))

  prefix = conditioning(
    config,
    semantic=jnp.asarray(fill(semantic))[None],
    acoustic=jnp.asarray(fill(acoustic))[None],
    valid=jnp.arange(size)[None] < frames,
  )
  for t in range(known, frames):
    for level in range(levels):
      own = fill(acoustic)[None, :, first : first + levels]
      logits = whole_pass(config, params, jnp.asarray(own), prefix)
      place = (offset + t) * levels + level
      noise = jax.random.gumbel(jax.random.fold_in(key, place), (V,))
      scores = np.asarray(logits[0, t, level]) / np.float32(temperature)
      acoustic[t, first + level] = np.argmax(scores + np.asarray(noise))
  return acoustic


def reference_row(params, requests, row):
  """All windows, then all chunks, of one request."""
  length, prompt = int(LENGTH[row]), int(PROMPT_LENGTH[row])
  tokens = np.zeros((length, Q), np.int32)
  tokens[:prompt] = requests["prompt"][row, :prompt]
  semantic = requests["semantic"][row, :length]
  key = jax.random.fold_in(requests["keys"][row], 0)
  for start, decoded in ((0, 0), (5, 8), (10, 13)):
    end = min(start + 8, length)
    known = max(prompt, decoded)
    if known < end:
      tokens[start:end] = reference_piece(
        STAGES.coarse,
        params["coarse"],
        semantic=semantic[start:end],
        acoustic=tokens[start:end],
        known=known - start,
        key=key,
        offset=start,
        temperature=0.8,
      )
  key = jax.random.fold_in(requests["keys"][row], 1)
  for start in range(0, length, 5):
    end = min(start + 5, length)
    if prompt < end:
      tokens[start:end] = reference_piece(
        STAGES.fine,
        params["fine"],
        semantic=semantic[start:end],
        acoustic=tokens[start:end],
        known=max(prompt - start, 0),
        key=key,
        offset=start,
        temperature=0.6,
      )
  return np.pad(tokens, ((0, T - length), (0, 0)))


@pytest.mark.parametrize("row", range(4))
def test_equals_the_uncached_reference(params, requests, tokens, row):
  np.testing.assert_array_equal(
    tokens[row], reference_row(params, requests, row)
  )


def test_chunk_after_chunk_gives_the_same(params, requests, tokens):
  published = dataclasses.replace(
    SAMPLER, parallel_chunks=False, cache_segments=1
  )
  np.testing.assert_array_equal(run(params, requests, published), tokens)


def test_prompts_are_kept_and_padding_is_zero(requests, tokens):
  for row in range(4):
    prompt, length = PROMPT_LENGTH[row], LENGTH[row]
    np.testing.assert_array_equal(
      tokens[row, :prompt], requests["prompt"][row, :prompt]
    )
    assert not tokens[row, length:].any()
  assert 0 <= tokens.min() < tokens.max() < V


def test_tokens_are_bit_identical_whatever_the_batch_mates(
  params, requests, tokens
):
  order = np.array([2, 3, 1, 0])
  shuffled = run(params, {k: v[order] for k, v in requests.items()})
  np.testing.assert_array_equal(shuffled, tokens[order])
  # Batch-mates replaced by dummy rows; and ids that nobody is to read.
  for row in (1, 2):
    alone = {k: np.array(v) for k, v in requests.items() if k != "keys"}
    others = np.arange(4) != row
    for name in ("length", "prompt_length", "semantic"):
      alone[name][others] = 0
    alone["prompt"][row, PROMPT_LENGTH[row] :] = -7
    alone["semantic"][row, LENGTH[row] :] = SEMANTIC - 1
    found = run(params, alone | {"keys": requests["keys"]})
    np.testing.assert_array_equal(found[row], tokens[row])
    assert not found[others].any()


def test_a_shorter_bucket_and_batch_give_the_same(params, requests, tokens):
  """Other shapes may round otherwise: nearly all, and here all, is equal."""
  row = {k: v[2:3] for k, v in requests.items()}
  row["semantic"] = row["semantic"][:, :9]
  # As long as the longest prompt, and no longer.
  row["prompt"] = row["prompt"][:, :2]
  np.testing.assert_array_equal(run(params, row)[0], tokens[2, :9])


def test_the_seed_matters(params, requests, tokens):
  keys = requests["keys"][::-1]
  other = run(params, requests | {"keys": keys})
  assert (other[0] != tokens[0]).mean() > 0.3


def test_the_networks_take_part(params, requests, tokens):
  """Another prefix, another coarse token: the stages listen."""
  semantic = (requests["semantic"] + 1) % SEMANTIC
  other = run(params, requests | {"semantic": semantic})
  assert (other[0, :, :COARSE] != tokens[0, :, :COARSE]).any()
  # The fine stage has no semantic tokens: with the same coarse ones known, it
  # is the same, and with others it is not.
  known = dict(requests, prompt=tokens, prompt_length=LENGTH)
  again = run(params, known | {"semantic": semantic})
  np.testing.assert_array_equal(again, tokens)


def test_windows_that_get_nowhere_are_refused(params, requests):
  wide = dataclasses.replace(SAMPLER, overlap_frames=8)
  with pytest.raises(ValueError, match="less than 8 frames, got 8"):
    run(params, requests, wide)


def test_passes_of_thirty_seconds():
  stages = AudioLMStages(
    AudioLMConfig(), AudioLMConfig(stage="fine", window_frames=150)
  )
  given = {"frames": 1500, "prompt_length": [0], "length": [1500]}
  sampler = AudioLMSamplerConfig(parallel_chunks=False)
  # The paper's 6,000 and 12,000 steps; four windows, ten chunks.
  assert count_passes(stages, sampler, **given) == Passes(4, 6000, 10, 12_000)
  sampler = AudioLMSamplerConfig()
  assert count_passes(stages, sampler, **given) == Passes(4, 6000, 1, 1200)


def count_steps(settings, requests):
  return count_passes(
    STAGES,
    settings,
    frames=T,
    prompt_length=requests["prompt_length"].tolist(),
    length=requests["length"].tolist(),
  )


def test_passes_by_hand(requests):
  # The first row wants all 17 frames, in whatever company: 8 in the first
  # window, 5 after the overlap, then 4.
  assert count_steps(SAMPLER, requests) == Passes(3, 17 * COARSE, 1, 5 * 3)
  published = dataclasses.replace(SAMPLER, parallel_chunks=False)
  assert count_steps(published, requests) == Passes(3, 17 * 2, 4, 17 * 3)
  # The second alone: frames 9 to 15; in chunks, 9, 10 to 14, 15.
  alone = {k: v[1:2] for k, v in requests.items()}
  assert count_steps(SAMPLER, alone) == Passes(3, 7 * COARSE, 1, 5 * 3)
  assert count_steps(published, alone) == Passes(3, 7 * 2, 4, 7 * 3)
  none = {k: v[3:] for k, v in requests.items()}
  assert count_steps(SAMPLER, none) == Passes(3, 0, 1, 0)


def test_steps_alone_run(params):
  config = STAGES.fine
  ready = decoding_params(config, params["fine"])
  given = {"keys": jax.random.split(jax.random.key(0), 3)}
  for room, slots in ((11, 21), (16, 26)):
    end = min(room, 15)
    run = make_steps(config, frames=5, room=room, steps=11)
    # As many steps as are asked for, of one program; the others stay zero.
    for count in (1, 11):
      codes = run(ready, count=jnp.int32(count), **given)
      assert codes.shape == (3, end)
      made = np.flatnonzero(np.any(codes, axis=0))
      assert end - 11 <= made[0] <= made[-1] < end - 11 + count
    # A step reads its cache, which is as long as the context.
    text = run.lower(ready, count=jnp.int32(1), **given).as_text()
    assert f"tensor<12x{slots}x8xf32>" in text
  for room, steps in ((17, 11), (15, 0), (2, 3), (16, 16)):
    with pytest.raises(ValueError, match="within the 15 tokens of 5 frames"):
      make_steps(config, frames=5, room=room, steps=steps)


@pytest.mark.parametrize(
  ("values", "message"),
  [
    ({"coarse_temperature": 0.0}, "coarse_temperature must be above 0, got 0"),
    ({"cache_segments": 0}, "cache_segments must be at least 1, got 0"),
    ({"overlap_frames": -1}, "overlap_frames must be at least 0, got -1"),
  ],
)
def test_bad_settings_are_refused(values, message):
  with pytest.raises(ValueError, match=message):
    AudioLMSamplerConfig(**values)
