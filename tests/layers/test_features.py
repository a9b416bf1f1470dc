"""Spectral features against NumPy and against what a sine must give."""

import jax.numpy as jnp
import numpy as np
import pytest

from soundstorm_jax.layers import features


@pytest.mark.parametrize(("window", "hop"), [(64, 16), (60, 25)])
def test_stft_equals_a_loop_over_frames(window, hop):
  audio = np.random.default_rng(0).normal(size=(2, 307)).astype(np.float32)
  hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window) / window)
  starts = range(0, 307 - window + 1, hop)
  slow = np.stack(
    [np.fft.rfft(audio[:, s : s + window] * hann) for s in starts], axis=1
  )
  fast = features.stft(jnp.asarray(audio), window=window, hop=hop)
  np.testing.assert_allclose(fast, slow, atol=1e-4)


def test_mel_spectrogram_of_a_sine_peaks_at_its_frequency():
  time = np.arange(16000) / 16000
  audio = 0.5 * np.sin(2 * np.pi * 1000 * time).astype(np.float32)
  mel = features.mel_spectrogram(
    jnp.asarray(audio[None]), sample_rate=16000, window=1024, hop=256, mels=64
  )
  filters = features.mel_filterbank(window=1024, mels=64, sample_rate=16000)
  centre = np.argmax(filters[1000 * 1024 // 16000])
  assert abs(int(jnp.argmax(mel[0, 5])) - centre) <= 1
  # Half amplitude through a Hann window and a filter that peaks at one.
  assert 0.2 < float(mel[0, 5].max()) < 0.6


def test_every_filter_of_a_short_window_sees_a_bin():
  filters = features.mel_filterbank(window=64, mels=64, sample_rate=16000)
  assert (filters.sum(axis=0) > 0).all()


def test_bad_sizes_are_refused():
  with pytest.raises(ValueError, match="10 samples"):
    features.frame(jnp.zeros((1, 10)), window=16, hop=4)
  with pytest.raises(ValueError, match="high=9000"):
    features.mel_filterbank(window=64, mels=8, sample_rate=16000, high=9000)
