"""The networks that are timed, at three sizes, with random weights.

Random weights take as long as trained ones, and make noise.

AudioLM's stages at the paper's size have 160M and 172M parameters (see
`audiolm.network`): less than the 0.3B of each that a reader of its paper may
have in mind, which is to AudioLM's advantage here.

Axes: Q levels, V codes, D latent width of the codec.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from soundstorm_jax.audiolm.config import AudioLMConfig, AudioLMStages
from soundstorm_jax.audiolm.network import (
  AudioLM,
  decoding_config,
  decoding_params,
  example_inputs,
)
from soundstorm_jax.layers.config import ConformerConfig, TransformerConfig
from soundstorm_jax.soundstorm.config import SoundStormConfig
from soundstorm_jax.soundstorm.network import SoundStorm
from soundstorm_jax.soundstream.codec import Codec
from soundstorm_jax.soundstream.config import SoundStreamConfig
from soundstorm_jax.soundstream.network import SoundStream


class Size(NamedTuple):
  """SoundStorm, the codec, and AudioLM for the same tokens."""

  model: SoundStormConfig
  codec: SoundStreamConfig
  audiolm: AudioLMStages


def _stages(
  transformer: TransformerConfig, *, coarse_frames: int, **values: Any
) -> AudioLMStages:
  """Both stages, which differ in what a stage is and in their windows."""
  values |= {"transformer": transformer}
  return AudioLMStages(
    AudioLMConfig(stage="coarse", window_frames=coarse_frames, **values),
    AudioLMConfig(stage="fine", window_frames=150, **values),
  )


# As in configs/tiny.py and librilight.py, soundstream.py, audiolm_coarse.py and
# audiolm_fine.py. At "small", SoundStorm has the width and depth of AudioLM's
# stages, of which configs/small.py has more, and the codec half the channels of
# the paper's.
SIZES = {
  "tiny": Size(
    SoundStormConfig(
      semantic_vocab=1024,
      conformer=ConformerConfig(
        dim=64, layers=2, heads=2, ff_dim=128, scan_layers=False
      ),
    ),
    SoundStreamConfig(encoder_channels=2, decoder_channels=2, dim=8),
    _stages(
      TransformerConfig(
        dim=32, layers=2, heads=2, ff_dim=64, scan_layers=False
      ),
      coarse_frames=300,
      semantic_vocab=1024,
      positions="time",
    ),
  ),
  "small": Size(
    SoundStormConfig(
      semantic_vocab=1024,
      conformer=ConformerConfig(
        dim=128, layers=4, heads=4, ff_dim=512, scan_layers=False
      ),
    ),
    SoundStreamConfig(),
    _stages(
      TransformerConfig(
        dim=128, layers=4, heads=4, ff_dim=512, scan_layers=False
      ),
      coarse_frames=300,
      semantic_vocab=1024,
      positions="time",
    ),
  ),
  "paper": Size(
    SoundStormConfig(),
    SoundStreamConfig(encoder_channels=32, decoder_channels=32, dim=128),
    _stages(TransformerConfig(), coarse_frames=500),
  ),
}


def with_dtype(size: Size, dtype: str) -> Size:
  """The same networks, computing in another dtype; the codec's stays.

  Raises:
    ValueError: no such dtype.
  """

  def stage(config: AudioLMConfig) -> AudioLMConfig:
    transformer = dataclasses.replace(config.transformer, dtype=dtype)
    return dataclasses.replace(config, transformer=transformer)

  conformer = dataclasses.replace(size.model.conformer, dtype=dtype)
  return Size(
    dataclasses.replace(size.model, conformer=conformer),
    size.codec,
    AudioLMStages(stage(size.audiolm.coarse), stage(size.audiolm.fine)),
  )


def random_soundstorm(
  model: SoundStormConfig, *, rng: np.random.Generator
) -> Any:
  """SoundStorm's parameters at random."""
  return _fill(soundstorm_shapes(model), rng=rng)


def soundstorm_shapes(model: SoundStormConfig) -> Any:
  """The shapes of SoundStorm's parameters."""
  row = jnp.zeros((1, 1), jnp.int32)
  tokens = jnp.zeros((1, 1, model.levels), jnp.int32)
  return _shapes(
    lambda key: SoundStorm(model).init(key, tokens, row, None, level=0)
  )


def random_stage(config: AudioLMConfig, *, rng: np.random.Generator) -> Any:
  """Parameters of a stage of AudioLM at random, as its sampler takes them."""
  config = decoding_config(config)
  inputs = example_inputs(config)
  shapes = _shapes(lambda key: AudioLM(config).init(key, *inputs))
  return decoding_params(config, _fill(shapes, rng=rng))


def random_codec(
  config: SoundStreamConfig, *, rng: np.random.Generator
) -> Codec:
  """A codec with everything at random."""
  audio = jnp.zeros((1, 2 * config.hop))
  shapes = _shapes(lambda key: SoundStream(config).init(key, audio))
  books = (config.levels, config.codes, config.dim)
  return Codec(
    config,
    params=_fill(shapes, rng=rng),
    codebooks=jnp.asarray(rng.standard_normal(books, np.float32)),
  )


def _shapes(init: Callable[[jax.Array], Any]) -> Any:
  """Of the parameters that a module would begin with."""
  return nn.unbox(jax.eval_shape(init, jax.random.key(0)))["params"]


def _fill(shapes: Any, *, rng: np.random.Generator) -> Any:
  """Parameters leaf by leaf: beside them, memory holds one leaf at most."""

  def fill(path: tuple, leaf: jax.ShapeDtypeStruct) -> jax.Array:
    name = path[-1].key
    if name in ("bias", "scale"):
      return jnp.full(leaf.shape, float(name == "scale"), leaf.dtype)
    values = rng.standard_normal(leaf.shape, np.float32)
    values /= np.float32(max(1, leaf.shape[-2]) ** 0.5)
    return jax.block_until_ready(jnp.asarray(values, leaf.dtype))

  return jax.tree_util.tree_map_with_path(fill, shapes)


def parameter_count(params: Any) -> int:
  """Of what was made above."""
  return sum(leaf.size for leaf in jax.tree.leaves(params))
