"""Muon for the kernels of convolutions, AdamW for the rest."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from soundstorm_jax.config import OptimizerConfig
from soundstorm_jax.train import read_config
from soundstorm_jax.training.optimizer import make_optimizer

CONFIG = OptimizerConfig(
  lr=1e-2, warmup_steps=0, weight_decay=0.0, clip_norm=1e9
)


def _updates(grads):
  optimizer = make_optimizer(CONFIG, 10, muon=True)
  params = jax.tree.map(jnp.zeros_like, grads)
  changes, _ = optimizer.update(grads, optimizer.init(params), params)
  return changes


def test_muon_makes_kernels_updates_orthogonal():
  grads = {"kernel": jax.random.normal(jax.random.key(0), (2, 8, 8))}
  update = np.asarray(_updates(grads)["kernel"]).reshape(16, 8)
  singular = np.linalg.svd(update, compute_uv=False)
  # Those of the gradient are up to ten times apart.
  assert singular.max() / singular.min() < 2
  rms = np.sqrt(np.mean(np.square(update)))
  assert rms == pytest.approx(0.2 * CONFIG.lr, rel=0.2)


def test_muon_leaves_biases_and_depthwise_kernels_to_adam():
  grads = {
    "bias": jnp.array([3.0, -0.1]),
    "depthwise": jnp.full((3, 1, 4), -2.0),
  }
  # Adam's first step, Nesterov's, has a size that no gradient's changes.
  updates = _updates(grads)
  size = np.abs(np.asarray(updates["bias"]))[0]
  assert 0.5 * CONFIG.lr < size < CONFIG.lr
  for name, update in updates.items():
    np.testing.assert_allclose(update, -size * np.sign(grads[name]), rtol=1e-3)


def test_muon_is_for_the_codec_alone():
  with pytest.raises(ValueError, match="SoundStormTrainingConfig has no field"):
    read_config({"task": "soundstorm", "system": {"muon": True}})
  codec = read_config({"task": "soundstream", "system": {"muon": True}})
  assert codec.system.muon
