"""Voices that no recording has, while SoundStorm is trained.

Not in the paper, whose speech is of thousands of readers; with few, level 1 is
learnt by heart. A codec whose latents are spectra and pitch
(`models/source_filter.py`) can hear an example in another voice without its
audio: its codes are summed, the sum is changed, and the quantizer codes it
anew. Semantic tokens stay: they are what is said.

Axes: B batch, T frames, Q levels.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, Key

from soundstorm_jax.models import quantizer
from soundstorm_jax.models.codec import Codec
from soundstorm_jax.models.source_filter import VoiceChange, change_voice
from soundstorm_jax.training.perturb import random_factor

_LARGEST_FORMANTS = 1.2
# Besides what goes with the formants.
_LARGEST_PITCH = 1.25
_BALANCE_NATS = 0.6
_WAVES = 6


def draw_change(key: Key[Array, ""], rows: int) -> VoiceChange:
  """A change for each row."""
  keys = jax.random.split(key, 3)
  formants = random_factor(keys[0], rows, largest=_LARGEST_FORMANTS)
  pitch = random_factor(keys[1], rows, largest=_LARGEST_PITCH)
  return VoiceChange(
    formants=formants,
    pitch=pitch * formants,
    balance=_BALANCE_NATS * jax.random.normal(keys[2], (rows, _WAVES)),
  )


def change_voices(
  tokens: Int[Array, "B T Q"],
  *,
  codec: Codec,
  key: Key[Array, ""],
  share: float,
) -> Int[Array, "B T Q"]:
  """Tokens, a random `share` of the rows in other voices.

  Args:
    tokens: of the codec's first levels.
    codec: with `source_filter`.
    key: of the draws.
    share: from 0 to 1.
  """
  rows, _, levels = tokens.shape
  books = codec.codebooks[:levels]
  which_key, change_key = jax.random.split(key)
  latents = quantizer.dequantize(tokens, books)
  changed = change_voice(codec.config, latents, draw_change(change_key, rows))
  codes = quantizer.quantize(changed, books).codes.astype(tokens.dtype)
  which = jax.random.uniform(which_key, (rows, 1, 1)) < share
  return jnp.where(which, codes, tokens)
