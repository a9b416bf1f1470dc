"""Hibari, a small synthesiser (weights under Apache-2.0) with one voice.

The PyPI package `hibari-tts` carries it, learnt from one of Kokoro's; a minute
of it takes one core a second.

    pip install "hibari-tts[fast]==0.2.1"

Axes: N samples.
"""

import numpy as np
from jaxtyping import Float

from soundstorm_jax.data.synthetic import finish


class Hibari:
  """The synthesiser.

  Attributes:
    voices: the name of its one voice.
  """

  voices = ("heart",)

  def __init__(self, *, threads: int = 1):
    """Loads the weights of the package.

    Args:
      threads: that one sentence is spoken with; 0 for onnxruntime's choice.
    """
    import hibari

    self._hibari = hibari.Hibari(voice=self.voices[0], threads=threads)

  def speak(
    self, text: str, *, voice: str, speed: float = 1.0
  ) -> Float[np.ndarray, "N"]:
    """Speech at 16 kHz, of even loudness, with short pauses around.

    Args:
      text: a sentence or two.
      voice: one of `voices`.
      speed: 1 is the voice's own.

    Raises:
      ValueError: no such voice, or nothing in `text` can be spoken.
    """
    if voice not in self.voices:
      raise ValueError(f"voice must be one of {self.voices}, got {voice!r}")
    audio = self._hibari(text, speed=speed, seed=0)
    return finish(audio, rate=self._hibari.sample_rate)
