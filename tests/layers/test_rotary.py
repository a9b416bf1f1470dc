"""Rotary positions: products of what they turn know the distance alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from soundstorm_jax.layers import rotary


def test_rotary_depends_on_the_distance_alone():
  q, k = jax.random.normal(jax.random.key(5), (2, 1, 1, 1, 8))
  q, k = (jnp.broadcast_to(x, (1, 6, 1, 8)) for x in (q, k))

  def scores(start):
    angles = rotary.rotary_angles(start + jnp.arange(6), 8)
    rotated = [rotary.apply_rotary(x, angles)[0, :, 0] for x in (q, k)]
    return rotated[0] @ rotated[1].T

  near, far = scores(0), scores(100)
  np.testing.assert_allclose(near, far, atol=1e-4)
  for offset in range(-5, 6):
    diagonal = np.diagonal(near, offset)
    np.testing.assert_allclose(diagonal, diagonal[0], atol=1e-5)
  assert np.ptp(np.asarray(near)) > 0.1
  np.testing.assert_allclose(near[0, 0], q[0, 0, 0] @ k[0, 0, 0], rtol=1e-5)


def test_rotary_refuses_odd_heads():
  with pytest.raises(ValueError, match="head_dim must be even, got 7"):
    rotary.rotary_angles(jnp.arange(3), 7)
