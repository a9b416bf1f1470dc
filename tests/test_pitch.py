"""The pitch tracker: known pitches, a slow best path, silence behind."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from soundstorm_jax import pitch

RATE, HOP = 16_000, 320


def _tone(hertz, *, seconds, rate=RATE):
  """Twelve equal harmonics, as rich as a voice."""
  time = np.arange(round(seconds * rate)) / rate
  parts = [np.cos(2 * np.pi * hertz * k * time + k) for k in range(1, 13)]
  return (0.02 * sum(parts)).astype(np.float32)


@jax.jit
def _track(audio):
  return pitch.track(pitch.periodicity(audio, sample_rate=RATE, hop=HOP))


@pytest.mark.parametrize("hertz", [75.0, 120.0, 220.0, 390.0])
def test_finds_the_pitch_of_a_tone_to_a_third_of_a_semitone(hertz):
  found = _track(_tone(hertz, seconds=0.4)[None])
  middle = slice(3, -3)
  assert bool(found.voiced[0, middle].all())
  error = 12 * (np.asarray(found.octaves[0, middle]) - np.log2(hertz))
  np.testing.assert_allclose(error, 0, atol=0.34)


def test_noise_and_silence_have_no_pitch():
  noise = 0.1 * np.random.default_rng(0).normal(size=(1, 20 * HOP))
  assert float(_track(jnp.asarray(noise, jnp.float32)).voiced.mean()) < 0.1
  assert not bool(_track(jnp.zeros((1, 20 * HOP))).voiced.any())


def test_silence_behind_changes_nothing_before_it():
  tone = _tone(130.0, seconds=0.4)
  tone[::7] += 0.2 * np.random.default_rng(0).normal(size=len(tone[::7]))
  alone = _track(tone[None])
  padded = _track(np.pad(tone, (0, 25 * HOP))[None])
  frames = alone.voiced.shape[1]
  np.testing.assert_array_equal(padded.voiced[:, :frames], alone.voiced)
  np.testing.assert_array_equal(padded.octaves[:, :frames], alone.octaves)


def test_path_is_the_best_of_all_paths():
  # Two candidates and unvoiced, over five frames, by trying every path.
  random = np.random.default_rng(1)
  scores = np.full((1, 5, len(pitch.candidates())), -10.0, np.float32)
  pair = (10, 60)
  scores[0][:, pair] = random.uniform(0.0, 1.0, (5, 2))
  states = (*pair, len(pitch.candidates()))
  costs = pitch.transition_costs()
  lag_octaves = np.log2(pitch.candidates()[-1] / pitch.candidates())

  def gain(path):
    total = -costs[path[-1], -1]
    for t, state in enumerate(path):
      voiced = state != states[-1]
      total += (
        scores[0, t, state] - 0.05 * lag_octaves[state] if voiced else 0.45
      )
      total -= costs[path[t - 1], state] if t else 0.0
    return total

  best = max(itertools.product(states, repeat=5), key=gain)
  found = pitch.track(jnp.asarray(scores))
  voiced = [state != states[-1] for state in best]
  assert any(voiced)
  np.testing.assert_array_equal(found.voiced[0], voiced)
  for t, state in enumerate(best):
    if voiced[t]:
      expected = np.log2(pitch.candidates()[state])
      assert float(found.octaves[0, t]) == pytest.approx(expected, abs=1e-5)


def test_centred_frames_are_slices_of_the_padded_audio():
  audio = np.random.default_rng(2).normal(size=(2, 12)).astype(np.float32)
  for window, hop, shift in ((8, 4, 0), (8, 4, 4), (4, 4, 4), (10, 4, 3)):
    padded = np.pad(audio, ((0, 0), (50, 50)))
    start = 50 - (window - hop) // 2 + shift
    slow = np.stack(
      [padded[:, start + t * hop :][:, :window] for t in range(12 // hop)],
      axis=1,
    )
    fast = pitch.centred_frames(
      jnp.asarray(audio), window=window, hop=hop, shift=shift
    )
    np.testing.assert_array_equal(fast, slow)


def test_bad_sizes_are_refused():
  with pytest.raises(ValueError, match="10 samples do not fill whole hops"):
    pitch.centred_frames(jnp.zeros((1, 10)), window=8, hop=4)
  with pytest.raises(ValueError, match="window=2 must be at least the hop 4"):
    pitch.centred_frames(jnp.zeros((1, 8)), window=2, hop=4)
