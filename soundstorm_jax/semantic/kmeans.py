"""Semantic tokens by k-means over normalised MFCC features (AudioLM III-B).

AudioLM clusters the features of a speech network, normalised per dimension, as
learned.py does. Here they are cepstra and their differences (mfcc.py), which
need no network, but carry only the rough phonetic content, and some of the
voice.

Axes: B batch, N samples, S tokens, C feature dimensions, V clusters.
"""

import functools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from soundstorm_jax import weights as weights_lib
from soundstorm_jax.config import from_mapping
from soundstorm_jax.semantic import mfcc
from soundstorm_jax.semantic.config import KMeansConfig
from soundstorm_jax.soundstream import quantizer


class KMeansTokenizer:
  """The nearest centre's number; ceil(N / samples per token) ids for N samples.

  Args:
    config: of the features.
    centres: in normalised feature space.
    mean: of the features that the centres were fitted to.
    std: likewise.
    fingerprint: of the weights.

  Raises:
    ValueError: the arrays' shapes are not the config's.
  """

  def __init__(
    self,
    config: KMeansConfig,
    *,
    centres: Float[np.ndarray, "V C"],
    mean: Float[np.ndarray, "C"],
    std: Float[np.ndarray, "C"],
    fingerprint: str,
  ):
    width = mfcc.feature_count(config)
    expected = ((config.clusters, width), (width,), (width,))
    shapes = (centres.shape, mean.shape, std.shape)
    if shapes != expected:
      raise ValueError(
        f"centres, mean and std have shapes {shapes}, the config says "
        f"{expected}"
      )
    self.config = config
    self.fingerprint = fingerprint
    self.sample_rate = config.sample_rate
    self.tokens_per_second = config.tokens_per_second
    self.vocabulary = config.clusters
    self._arrays = tuple(
      jnp.asarray(array, jnp.float32) for array in (centres, mean, std)
    )

  @classmethod
  def load(cls, path: str | pathlib.Path) -> "KMeansTokenizer":
    """Reads semantic.safetensors.

    Raises:
      ValueError: the file holds the weights of something else.
    """
    weights = weights_lib.load_weights(path, kind="semantic")
    return cls(
      from_mapping(KMeansConfig, weights.config),
      fingerprint=weights_lib.fingerprint(path),
      **weights.params,
    )

  def encode(
    self,
    audio: Float[np.ndarray, "B N"],
    lengths: Int[np.ndarray, "B"],
  ) -> Int[Array, "B S"]:
    """See `Tokenizer`."""
    return _encode(
      jnp.asarray(audio, jnp.float32),
      jnp.asarray(lengths, jnp.int32),
      *self._arrays,
      config=self.config,
    )


@functools.partial(jax.jit, static_argnames="config")
def _encode(audio, lengths, centres, mean, std, *, config):
  vectors = mfcc.mfcc(audio, lengths, config=config)
  return quantizer.nearest((vectors - mean) / std, centres, precision="highest")
