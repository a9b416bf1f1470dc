"""The codec's losses: what they hear, and on what scale."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from soundstorm_jax.soundstream import losses


def tones():
  time = np.arange(4096) / 16_000
  waves = [0.3 * np.sin(2 * np.pi * hz * time) for hz in (300, 1100)]
  return jnp.asarray(np.stack(waves), jnp.float32)


def test_losses_are_zero_for_a_perfect_copy_and_grow_with_noise():
  audio = tones()
  noise = jax.random.normal(jax.random.key(0), audio.shape)
  found = [
    float(losses.mel_loss(audio, audio + s * noise, sample_rate=16_000))
    for s in (0.0, 0.01, 0.1)
  ]
  # Not zero, for the square root has its floor.
  assert found[0] == pytest.approx(0, abs=2e-3)
  assert 0.1 < found[1] < found[2]


def test_si_sdr_ignores_scale_and_measures_decibels():
  audio = tones()[:1]
  # Orthogonal noise with a hundredth of the power: 20 dB.
  noise = jax.random.normal(jax.random.key(0), audio.shape)
  noise -= jnp.sum(noise * audio) / jnp.sum(audio**2) * audio
  noise *= 0.1 * jnp.linalg.norm(audio) / jnp.linalg.norm(noise)
  found = losses.si_sdr(audio, 3 * (audio + noise))
  assert float(found[0]) == pytest.approx(20, 1e-3)


def test_the_spectrum_loss_hears_phases_and_soft_sounds():
  time = np.arange(4096) / 16_000
  tone = jnp.asarray(np.sin(2 * np.pi * 440 * time), jnp.float32)[None]
  loss = losses.spectrum_loss
  assert float(loss(tone, tone)) == 0
  # The mel spectra of the two are the same.
  opposite = float(loss(tone, -tone))
  assert opposite > 0.01
  # A hundredth of the amplitude: without compression, of the loss.
  assert float(loss(0.01 * tone, -0.01 * tone)) > 0.15 * opposite


def test_the_latent_loss_is_a_share_of_the_variance():
  latents = 3.0 + 2.0 * jax.random.normal(jax.random.key(0), (4, 200, 8))
  mean = jnp.broadcast_to(jnp.mean(latents, axis=(0, 1)), latents.shape)
  assert float(losses.latent_loss(latents, mean)) == pytest.approx(1, rel=1e-3)
