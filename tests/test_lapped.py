"""The lapped transform against its definition."""

import jax.numpy as jnp
import numpy as np
import pytest

from soundstorm_jax import lapped

HOP = 8


def _slow_mdct(audio, hop):
  """The defining sum, one coefficient at a time."""
  padded = np.pad(audio, hop // 2)
  frames = len(audio) // hop
  out = np.zeros((frames, hop))
  for t in range(frames):
    for k in range(hop):
      for n in range(2 * hop):
        window = np.sin(np.pi * (n + 0.5) / (2 * hop))
        cosine = np.cos(np.pi / hop * (n + 0.5 + hop / 2) * (k + 0.5))
        out[t, k] += padded[t * hop + n] * window * cosine
  return out * np.sqrt(2 / hop)


@pytest.fixture
def audio():
  noise = np.random.default_rng(0).normal(size=(2, 5 * HOP))
  return jnp.asarray(noise, jnp.float32)


def test_equals_its_definition(audio):
  expected = np.stack([_slow_mdct(row, HOP) for row in audio])
  np.testing.assert_allclose(lapped.mdct(audio, HOP), expected, atol=1e-5)


def test_basis_is_orthonormal():
  basis = lapped.basis(80)
  np.testing.assert_allclose(basis.T @ basis, np.eye(80), atol=1e-5)


def test_inverse_gives_the_audio_back(audio):
  again = np.array(lapped.inverse_mdct(lapped.mdct(audio, HOP)))
  assert again.shape == audio.shape
  inside = slice(HOP // 2, -HOP // 2)
  np.testing.assert_allclose(again[:, inside], audio[:, inside], atol=1e-5)
  # The very ends lack the neighbour that would cancel their alias.
  assert not np.allclose(again[:, : HOP // 2], audio[:, : HOP // 2], atol=0.1)


def test_bad_sizes_are_refused(audio):
  with pytest.raises(ValueError, match="must be even, got 7"):
    lapped.mdct(audio[:, :35], 7)
  with pytest.raises(ValueError, match="39 samples do not fill"):
    lapped.mdct(audio[:, :-1], HOP)
  with pytest.raises(ValueError, match="must be even, got 5"):
    lapped.inverse_mdct(jnp.zeros((1, 4, 5)))
