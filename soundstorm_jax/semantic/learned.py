"""Semantic tokens from a trained encoder (AudioLM, arXiv 2209.03143, III-B).

The features of one of its layers, normalised per dimension, and the nearest of
the k-means centres. An utterance's tokens depend on the whole of it, but not on
padding, nor on other utterances.

Axes: B batch, N samples, S tokens, C feature dimensions, V clusters.
"""

import functools
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from soundstorm_jax import weights as weights_lib
from soundstorm_jax.config import from_mapping
from soundstorm_jax.data.tokenizer import Tokenizer
from soundstorm_jax.semantic import kmeans, network
from soundstorm_jax.semantic.config import SemanticEncoderConfig
from soundstorm_jax.soundstream import quantizer

# The kind of a file of weights: encoder, centres and normalisation.
KIND = "semantic_learned"


class LearnedTokenizer:
  """The nearest centre's number; ceil(N / samples per token) ids for N samples.

  Args:
    config: of the encoder; its last layer's features are taken.
    params: of the encoder, without heads.
    whisper: of Whisper's encoder, if the encoder reads its features.
    centres: in normalised feature space.
    mean: of the features that the centres were fitted to.
    std: likewise.
    fingerprint: of the weights.

  Raises:
    ValueError: the arrays' widths are not the encoder's, or Whisper's
      parameters are there and not in the config, or the other way round.
  """

  def __init__(
    self,
    config: SemanticEncoderConfig,
    *,
    params: Any,
    centres: Float[np.ndarray, "V C"],
    mean: Float[np.ndarray, "C"],
    std: Float[np.ndarray, "C"],
    fingerprint: str,
    whisper: Any = None,
  ):
    if (whisper is None) == bool(config.whisper.layers):
      has = "none" if whisper is None else "some"
      raise ValueError(
        f"the encoder is over {config.whisper.layers} layers of Whisper's, of "
        f"which there are {has}"
      )
    width = config.conformer.dim
    widths = (centres.shape[-1], mean.size, std.size)
    if widths != (width,) * 3:
      raise ValueError(
        f"centres, mean and std have width {widths}, the encoder {width}"
      )
    self.config = config
    self.fingerprint = fingerprint
    self.sample_rate = config.sample_rate
    self.tokens_per_second = config.tokens_per_second
    self.vocabulary = len(centres)
    self._params = jax.tree.map(jnp.asarray, params)
    self._whisper = jax.tree.map(jnp.asarray, whisper)
    self._arrays = tuple(
      jnp.asarray(array, jnp.float32) for array in (centres, mean, std)
    )

  @classmethod
  def load(cls, path: str | pathlib.Path) -> "LearnedTokenizer":
    """Reads semantic.safetensors.

    Raises:
      ValueError: the file holds the weights of something else.
    """
    weights = weights_lib.load_weights(path, kind=KIND)
    return cls(
      from_mapping(SemanticEncoderConfig, weights.config),
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
      self._params,
      self._whisper,
      *self._arrays,
      config=self.config,
    )


def tokenizer_params(
  encoder: Any, centres: Float[np.ndarray, "V C"]
) -> dict[str, Any]:
  """What a file of weights holds, of an encoder that normalises by itself."""
  width = centres.shape[-1]
  return {
    "params": encoder,
    "centres": centres,
    "mean": np.zeros(width, np.float32),
    "std": np.ones(width, np.float32),
  }


@functools.partial(jax.jit, static_argnames="config")
def features(
  audio: Float[Array, "B N"],
  lengths: Int[Array, "B"],
  params: Any,
  whisper: Any = None,
  *,
  config: SemanticEncoderConfig,
) -> Float[Array, "B S C"]:
  """Features of ceil(N / samples per token) tokens, those of the last layer.

  Args:
    audio: in [-1, 1].
    lengths: samples of each row that count.
    params: of the encoder.
    whisper: of Whisper's, if there is one.
    config: of the encoder.
  """
  # As in mfcc.py: rounding can move a vector to another cluster.
  with jax.default_matmul_precision("highest"):
    spectrum = network.spectrum(audio, lengths, config=config)
    frames = -(-lengths // network.hop_of(config))
    valid = jnp.arange(spectrum.shape[1]) < frames[:, None]
    return network.SemanticEncoder(config).apply(
      {"params": params},
      network.Listener(config, whisper).hear(spectrum, valid),
      valid[:, :: network.FRAMES_PER_TOKEN],
    )


@functools.partial(jax.jit, static_argnames="config")
def _encode(audio, lengths, params, whisper, centres, mean, std, *, config):
  vectors = features(audio, lengths, params, whisper, config=config)
  return quantizer.nearest((vectors - mean) / std, centres, precision="highest")


def load_semantic(path: str | pathlib.Path) -> Tokenizer:
  """Reads semantic.safetensors of either kind.

  Raises:
    ValueError: the file holds the weights of something else.
  """
  learned = weights_lib.load_weights(path).kind == KIND
  return (LearnedTokenizer if learned else kmeans.KMeansTokenizer).load(path)
