"""Perturbations of speech, against slow NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from soundstorm_jax.semantic import perturb


def normal(*shape, seed=0):
  return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def test_factors_are_symmetric():
  factors = np.asarray(
    perturb.random_factor(jax.random.key(0), 4000, largest=1.25)
  )
  assert 0.8 <= factors.min() < 0.81
  assert 1.24 < factors.max() <= 1.25
  assert np.median(factors) == pytest.approx(1.0, abs=0.01)


def test_frequencies_scale():
  spectrum = normal(2, 3, 9)
  factor = np.array([0.8, 1.3], np.float32)
  moved = perturb.scale_frequencies(jnp.asarray(spectrum), jnp.asarray(factor))
  for b, p in np.ndindex(2, 3):
    expected = np.interp(np.arange(9) / factor[b], np.arange(9), spectrum[b, p])
    np.testing.assert_allclose(moved[b, p], expected, atol=1e-5)


def test_a_peak_moves_up():
  spectrum = np.zeros((1, 1, 100), np.float32)
  spectrum[0, 0, 40] = 1
  moved = perturb.scale_frequencies(jnp.asarray(spectrum), jnp.array([1.25]))
  assert np.argmax(moved) == 50


def test_tempo_moves_frames_and_labels_alike():
  frames = normal(2, 8, 3)
  labels = np.arange(16).reshape(2, 8)
  factor = np.array([0.7, 1.5], np.float32)
  changed = perturb.change_tempo(jnp.asarray(frames), jnp.asarray(factor))
  changed_labels = perturb.change_tempo_of_labels(
    jnp.asarray(labels), jnp.asarray(factor)
  )
  for b, p in np.ndindex(2, 8):
    place = min(p * factor[b], 7)
    low = int(place)
    weight = place - low
    expected = (1 - weight) * frames[b, low]
    expected = expected + weight * frames[b, min(low + 1, 7)]
    np.testing.assert_allclose(changed[b, p], expected, atol=1e-5)
    assert changed_labels[b, p] == labels[b, min(round(p * factor[b]), 7)]


def test_noise_has_the_level_asked_for():
  audio = normal(50, 4000)
  noisy = perturb.add_noise(
    jax.random.key(0), jnp.asarray(audio), least_snr=20.0
  )
  ratio = (audio**2).mean(1) / ((np.asarray(noisy) - audio) ** 2).mean(1)
  decibels = 10 * np.log10(ratio)
  assert 19.5 < decibels.min() < 25
  assert 55 < decibels.max() < 60.5


def test_silence_stays_silent():
  noisy = perturb.add_noise(
    jax.random.key(0), jnp.zeros((1, 100)), least_snr=0.0
  )
  assert not np.asarray(noisy).any()


def test_bands_are_no_wider_than_asked():
  hidden = np.asarray(
    perturb.mel_mask(jax.random.key(0), 200, mels=20, masks=1, width=5)
  )
  widths = hidden.sum(1)
  assert set(widths.tolist()) == set(range(6))
  for row in hidden:
    assert np.abs(np.diff(row.astype(int))).sum() <= 2  # One band.
  none = perturb.mel_mask(jax.random.key(0), 3, mels=20, masks=0, width=5)
  assert not np.asarray(none).any()
