"""AudioLM's stages, tiny and random, and inputs for them."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from soundstorm_jax.audiolm.conditioning import conditioning
from soundstorm_jax.audiolm.config import AudioLMConfig, AudioLMStages
from soundstorm_jax.audiolm.network import AudioLM, example_inputs
from soundstorm_jax.layers.config import TransformerConfig

Q, V, SEMANTIC, COARSE = 5, 16, 8, 2


def stage(name="coarse", *, scan_layers=False, **values):
  """A stage's config."""
  return AudioLMConfig(
    **{
      "stage": name,
      "levels": Q,
      "codes": V,
      "semantic_vocab": SEMANTIC,
      "coarse_levels": COARSE,
      "window_frames": 12,
      "transformer": TransformerConfig(
        dim=32,
        layers=2,
        heads=4,
        ff_dim=48,
        position_buckets=8,
        max_distance=16,
        scan_layers=scan_layers,
      ),
    }
    | values
  )


def both(*, coarse=12, fine=12, **values):
  """Both stages' configs, with windows of so many frames."""
  return AudioLMStages(
    stage("coarse", window_frames=coarse, **values),
    stage("fine", window_frames=fine, **values),
  )


def random_params(init, *args, gain=1.0, seed=0, **kwargs):
  """What `init` would make, by NumPy: nothing is compiled.

  Positions matter, and with a gain predictions are not flat.
  """
  rng = np.random.default_rng(seed)
  shapes = jax.eval_shape(
    lambda key: init(key, *args, **kwargs), jax.random.key(0)
  )

  def fill(path, leaf):
    name = path[-1].key
    if name == "scale":
      return jnp.ones(leaf.shape)
    # The model has a gain on position_bias.
    size = 0.2 if name == "position_bias" else 1.0
    if name not in ("token_embedding", "position_bias"):
      size = gain / 10 if name.startswith("head") else 1.0
      size *= leaf.shape[-1] ** -0.5
    return jnp.asarray(size * rng.normal(size=leaf.shape), jnp.float32)

  return jax.tree_util.tree_map_with_path(fill, nn.unbox(shapes)["params"])


def make_params(config, *, gain=5.0, seed=0):
  """Random parameters of a stage."""
  return random_params(
    AudioLM(config).init, *example_inputs(config), gain=gain, seed=seed
  )


def make_inputs(config, length, *, frames, seed=0):
  """Random tokens of the stage's levels, and its prefix."""
  rng = np.random.default_rng(seed)
  rows = len(length)
  acoustic = rng.integers(0, V, (rows, frames, Q), np.int32)
  prefix = conditioning(
    config,
    semantic=jnp.asarray(rng.integers(0, SEMANTIC, (rows, frames), np.int32)),
    acoustic=jnp.asarray(acoustic),
    valid=jnp.arange(frames) < jnp.asarray(length)[:, None],
  )
  first = config.first_level
  own = acoustic[:, :, first : first + config.target_levels]
  return jnp.asarray(own), prefix


@functools.partial(jax.jit, static_argnames="config")
def whole_pass(config, params, tokens, prefix):
  """Logits of all tokens given the true ones."""
  return AudioLM(config).apply({"params": params}, tokens, prefix)
