"""Acoustic tokens by our SoundStream codec.

Axes: B batch, N samples, T frames, Q levels.
"""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from soundstorm_jax.soundstream.codec import Codec
from soundstorm_jax.weights import fingerprint


class SoundStreamTokenizer:
  """A codec as an `AcousticTokenizer`; ceil(N / hop) tokens for N samples.

  Args:
    codec: the codec.
    fingerprint: of its weights.
  """

  def __init__(self, codec: Codec, *, fingerprint: str):
    self.codec = codec
    self.fingerprint = fingerprint
    self.sample_rate = codec.config.sample_rate
    self.tokens_per_second = codec.config.frame_rate
    self.vocabulary = codec.config.codes
    self.levels = codec.config.levels

  @classmethod
  def load(cls, path: str | pathlib.Path) -> "SoundStreamTokenizer":
    """Reads soundstream.safetensors.

    Raises:
      ValueError: the file holds the weights of something else.
    """
    return cls(Codec.load(path), fingerprint=fingerprint(path))

  def encode(
    self,
    audio: Float[np.ndarray, "B N"],
    lengths: Int[np.ndarray, "B"],
  ) -> Int[Array, "B T Q"]:
    """See `Tokenizer`. A last, partial frame is filled with zeros."""
    # The encoder is causal, so only the frame that holds the end can see
    # anything of the padding.
    silent = np.arange(audio.shape[1]) >= np.asarray(lengths)[:, None]
    audio = np.where(silent, np.float32(0), audio)
    with jax.default_matmul_precision("highest"):
      return self.codec.encode(jnp.asarray(audio))

  def decode(self, tokens: Int[Array, "B T q"]) -> Float[Array, "B N"]:
    """See `AcousticTokenizer`."""
    return self.codec.decode(tokens)
