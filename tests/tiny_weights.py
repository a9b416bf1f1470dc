"""A folder of weights as the package ships them, tiny and random."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from soundstorm_jax.config import to_mapping
from soundstorm_jax.layers.config import ConformerConfig
from soundstorm_jax.semantic.config import KMeansConfig
from soundstorm_jax.semantic.mfcc import feature_count
from soundstorm_jax.soundstorm.config import SoundStormConfig
from soundstorm_jax.soundstorm.network import SoundStorm
from soundstorm_jax.soundstream.config import SoundStreamConfig
from soundstorm_jax.soundstream.network import SoundStream
from soundstorm_jax.weights import save_weights

Q, V, SEMANTIC = 3, 32, 8
MODEL = SoundStormConfig(
  levels=Q,
  codes=V,
  semantic_vocab=SEMANTIC,
  conformer=ConformerConfig(
    dim=32, layers=2, heads=2, ff_dim=64, scan_layers=False
  ),
)
# One level more than the model predicts.
CODEC = SoundStreamConfig(
  encoder_channels=2, decoder_channels=2, dim=4, levels=Q + 1, codes=V
)
KMEANS = KMeansConfig(clusters=SEMANTIC, coefficients=4)


def write_weights(folder, *, model=MODEL, codec=CODEC, kmeans=KMEANS):
  """Writes the three files; returns the folder."""
  rng = np.random.default_rng(0)

  def fill(path, leaf):
    name = path[-1].key
    if name == "scale":
      return np.ones(leaf.shape)
    fan_in = max(1, np.prod(leaf.shape[:-1]))
    # Predictions sharp enough for the logits to matter beside the noise.
    gain = 10 if name == "head_kernel" else 1
    return gain * rng.normal(size=leaf.shape) / fan_in**0.5

  def init(module, *args, **kwargs):
    # Of the right shapes; nothing is compiled.
    shapes = jax.eval_shape(
      lambda key: module.init(key, *args, **kwargs), jax.random.key(0)
    )
    return jax.tree_util.tree_map_with_path(fill, nn.unbox(shapes)["params"])

  frame = jnp.zeros((1, 1), jnp.int32)
  tokens = jnp.zeros((1, 1, model.levels), jnp.int32)
  save_weights(
    folder / "soundstorm.safetensors",
    init(SoundStorm(model), tokens, frame, None, level=0),
    config=to_mapping(model),
    kind="soundstorm",
  )
  audio = jnp.zeros((1, 2 * codec.hop))
  save_weights(
    folder / "soundstream.safetensors",
    {
      "params": init(SoundStream(codec), audio),
      "codebooks": rng.normal(size=(codec.levels, codec.codes, codec.dim)),
    },
    config=to_mapping(codec),
    kind="soundstream",
  )
  width = feature_count(kmeans)
  save_weights(
    folder / "semantic.safetensors",
    {
      "centres": rng.normal(size=(kmeans.clusters, width)),
      "mean": np.zeros(width),
      "std": np.ones(width),
    },
    config=to_mapping(kmeans),
    kind="semantic",
    dtype="float32",
  )
  return folder
