"""A trained codec for inference: audio to tokens and back.

SoundStream (arXiv 2107.03312). Any number of levels decodes, coarse to fine;
lengths are exact: N samples become ceil(N / hop) frames, and a caller who knows
N cuts the decoded audio to it.

Axis letters: B batch, N samples, T frames, Q levels, V codes, D latent width.
"""

import functools
import os
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from soundstorm_jax.config import from_mapping
from soundstorm_jax.soundstream import quantizer
from soundstorm_jax.soundstream.config import SoundStreamConfig
from soundstorm_jax.soundstream.network import SoundStream
from soundstorm_jax.weights import load_weights


class Codec:
  """Encoder, codebooks and decoder with their weights.

  Args:
    config: sizes.
    params: the SoundStream module's parameters.
    codebooks: (Q, V, D).

  Raises:
    ValueError: the codebooks' shape is not the config's.
  """

  def __init__(
    self,
    config: SoundStreamConfig,
    *,
    params: Any,
    codebooks: Float[Array, "Q V D"],
  ):
    expected = (config.levels, config.codes, config.dim)
    if codebooks.shape != expected:
      raise ValueError(
        f"codebooks have shape {codebooks.shape}, the config says {expected}"
      )
    self.config = config
    self._params = jax.tree.map(jnp.asarray, params)
    self.codebooks = jnp.asarray(codebooks, jnp.float32)

  @classmethod
  def load(cls, path: str | os.PathLike[str]) -> "Codec":
    """Reads soundstream.safetensors.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: it holds the weights of something else.
    """
    weights = load_weights(path, kind="soundstream")
    return cls(
      from_mapping(SoundStreamConfig, weights.config),
      params=weights.params["params"],
      codebooks=jnp.asarray(weights.params["codebooks"]),
    )

  def latents(self, audio: Float[Array, "B N"]) -> Float[Array, "B T D"]:
    """What the encoder makes of audio, before quantization.

    Raises:
      ValueError: the samples do not fill whole frames.
    """
    return SoundStream(self.config).apply(
      {"params": self._params}, audio, method="encode"
    )

  def speak(self, latents: Float[Array, "B T D"]) -> Float[Array, "B N"]:
    """What the decoder makes of latents."""
    return SoundStream(self.config).apply(
      {"params": self._params}, latents, method="decode"
    )

  def encode(self, audio: Float[Array, "B N"]) -> Int[Array, "B T Q"]:
    """Tokens of audio; a last, partial frame is filled with zeros."""
    hop = self.config.hop
    frames = -(-audio.shape[1] // hop)
    padding = frames * hop - audio.shape[1]
    audio = jnp.pad(jnp.asarray(audio, jnp.float32), ((0, 0), (0, padding)))
    return _encode(audio, self._params, self.codebooks, config=self.config)

  def decode(self, tokens: Int[Array, "B T q"]) -> Float[Array, "B N"]:
    """Audio of T * hop samples from the first q levels, 1 <= q <= Q.

    Raises:
      ValueError: there are no levels, or more than the codec has.
    """
    self._check_levels(tokens.shape[-1])
    return _decode(
      jnp.asarray(tokens), self._params, self.codebooks, config=self.config
    )

  def compile_decode(
    self, rows: int, *, frames: int, levels: int
  ) -> Callable[[Int[Array, "B T q"]], Float[Array, "B N"]]:
    """`decode` for one shape, compiled ahead of its first use.

    Args:
      rows: B.
      frames: T.
      levels: q.

    Raises:
      ValueError: there are no levels, or more than the codec has.
    """
    self._check_levels(levels)
    tokens = jax.ShapeDtypeStruct((rows, frames, levels), jnp.int32)
    compiled = _decode.lower(
      tokens, self._params, self.codebooks, config=self.config
    ).compile()
    return lambda tokens: compiled(tokens, self._params, self.codebooks)

  def _check_levels(self, levels: int) -> None:
    if not 1 <= levels <= self.config.levels:
      raise ValueError(
        f"tokens have {levels} levels; the codec decodes 1 to "
        f"{self.config.levels}"
      )


@functools.partial(jax.jit, static_argnames="config")
def _encode(audio, params, codebooks, *, config):
  latents = SoundStream(config).apply(
    {"params": params}, audio, method="encode"
  )
  return quantizer.quantize(latents, codebooks).codes


@functools.partial(jax.jit, static_argnames="config")
def _decode(tokens, params, codebooks, *, config):
  latents = quantizer.dequantize(tokens, codebooks)
  return SoundStream(config).apply({"params": params}, latents, method="decode")
