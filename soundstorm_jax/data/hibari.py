"""Hibari, a small synthesiser (weights under Apache-2.0), in voices of its own.

The PyPI package `hibari-tts` (0.2.1) carries one voice, learnt from one of
Kokoro's, and a minute of it takes one core a second. Between network and
samples it tells pitch, harmonics and noise apart (its README, "ONNX
interface"), so that other speakers are at hand: another pitch, the spectra
stretched as by a shorter or a longer vocal tract, another balance of
frequencies.

    pip install "hibari-tts[fast]==0.2.1"

Axes: N samples, K bins, P spectral frames.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from soundstorm_jax.data.synthetic import finish
from soundstorm_jax.features import half_waves

# Of the vocal tract: a tall man's formants lie about a fifth lower than those
# of the voice in the package, a child's a tenth higher.
_FORMANTS = (0.80, 1.10)
# Of the pitch that goes with such a vocal tract, and how far voices stray.
_PITCH = (0.48, 1.15)
_PITCH_SPREAD = 0.12
_FORMANT_SPREAD = 0.03
# Nats of amplitude of each of the slow waves over the frequencies.
_BALANCE = 0.3
_WAVES = 4


class Voice(NamedTuple):
  """How a voice differs from the package's.

  Attributes:
    pitch: factor.
    formants: factor of all frequencies of the spectra.
    balance: nats of amplitude, of cosines with 1, 2, ... half waves over the
      frequencies.
  """

  pitch: float
  formants: float
  balance: tuple[float, ...]


def draw_voice(seed: int) -> Voice:
  """The voice of a number; pitch and formants of one sort of speaker."""
  rng = np.random.default_rng(seed)
  size = rng.uniform()
  formants = np.interp(size, (0, 1), _FORMANTS)
  pitch = np.exp(np.interp(size, (0, 1), np.log(_PITCH)))
  return Voice(
    pitch=float(pitch * np.exp(rng.normal() * _PITCH_SPREAD)),
    formants=float(formants * np.exp(rng.normal() * _FORMANT_SPREAD)),
    balance=tuple((rng.normal(size=_WAVES) * _BALANCE).tolist()),
  )


class Hibari:
  """The synthesiser.

  Attributes:
    voices: names, `h000` and so on.
  """

  def __init__(self, *, voices: int, threads: int = 1):
    """Loads the weights of the package.

    Args:
      voices: how many to draw; the first is the package's own.
      threads: that one sentence is spoken with.

    Raises:
      ValueError: `voices` is outside 1 to 1000.
    """
    import hibari

    if not 1 <= voices <= 1000:
      raise ValueError(f"voices must be between 1 and 1000, got {voices}")
    self._package = hibari
    self._hibari = hibari.Hibari(threads=threads)
    own = Voice(pitch=1.0, formants=1.0, balance=())
    drawn = [own, *(draw_voice(seed) for seed in range(1, voices))]
    self._drawn = {f"h{n:03}": voice for n, voice in enumerate(drawn)}
    self.voices = tuple(self._drawn)

  def speak(
    self, text: str, *, voice: str, speed: float = 1.0
  ) -> Float[np.ndarray, "N"]:
    """Speech at 16 kHz, of even loudness, with short pauses around.

    Args:
      text: a sentence or two.
      voice: one of `voices`.
      speed: 1 is the package's own.

    Raises:
      ValueError: no such voice, or nothing in `text` can be spoken.
    """
    if voice not in self._drawn:
      raise ValueError(f"no voice {voice!r} among {len(self._drawn)}")
    said = [
      self._speak(ids, self._drawn[voice], speed)
      for ids in map(self._hibari.ids, self._hibari.phonemize(text))
    ]
    if not said:
      raise ValueError(f"nothing to speak in {text!r}")
    return finish(np.concatenate(said), rate=self._package.SAMPLE_RATE)

  def _speak(self, ids: list[int], voice: Voice, speed: float) -> np.ndarray:
    out = self._hibari.sess.run(
      ["lh", "theta", "ln", "lr", "phi", "f0"],
      {"ids": np.array([ids]), "speed": np.full(1, speed, np.float32)},
    )
    harmonics, turn, noise, rest, phase, pitch = (part[0] for part in out)
    waves = half_waves(len(voice.balance), len(noise))
    balance = (np.array(voice.balance) @ waves)[:, None].astype(np.float32)
    return self._package.dsp.synth(
      stretch(harmonics, voice.formants) + balance,
      stretch(turn, voice.formants),
      stretch(noise, voice.formants) + balance,
      stretch(rest, voice.formants) + balance,
      phase,
      pitch * voice.pitch,
      np.random.default_rng(0),
    )


def stretch(
  spectra: Float[np.ndarray, "K P"], factor: float
) -> Float[np.ndarray, "K P"]:
  """Moves bin k to factor * k, between bins linearly; the last bin goes on."""
  bins = len(spectra)
  place = np.minimum(np.arange(bins) / factor, bins - 1)
  below = np.minimum(place.astype(int), bins - 2)
  part = (place - below)[:, None].astype(np.float32)
  return spectra[below] * (1 - part) + spectra[below + 1] * part
