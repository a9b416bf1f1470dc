"""Hibari's one voice, by a package that stands in for its own."""

import sys
import types

import numpy as np
import pytest

from soundstorm_jax.data.hibari import Hibari
from soundstorm_jax.data.synthetic import SAMPLE_RATE, finish

RATE = 24000


class Package:
  """Has the package's interface; says 80 ms of 200 Hz for each letter."""

  sample_rate = RATE

  def __init__(self, *, voice, threads):
    assert (voice, threads) == ("heart", 1)

  def __call__(self, text, *, speed, seed):
    assert seed == 0
    samples = round(0.08 * RATE * len(text.strip()) / speed)
    time = np.arange(samples) / RATE
    return np.sin(2 * np.pi * 200 * time).astype(np.float32)


@pytest.fixture
def model(monkeypatch):
  package = types.SimpleNamespace(Hibari=Package)
  monkeypatch.setitem(sys.modules, "hibari", package)
  return Hibari()


def test_speech_is_at_our_rate_and_as_fast_as_asked(model):
  for speed in (1.0, 0.8):
    audio = model.speak("abcdefghij", voice="heart", speed=speed)
    assert audio.dtype == np.float32
    assert len(audio) == pytest.approx(0.8 / speed * SAMPLE_RATE, rel=0.01)
    spectrum = np.abs(np.fft.rfft(audio))
    hertz = np.argmax(spectrum) * SAMPLE_RATE / len(audio)
    assert hertz == pytest.approx(200, abs=2)


def test_bad_input_is_refused(model):
  with pytest.raises(ValueError, match=r"one of \('heart',\), got 'h001'"):
    model.speak("a", voice="h001")
  with pytest.raises(ValueError, match="0 silent samples"):
    model.speak(" ", voice="heart")
  with pytest.raises(ValueError, match="100 silent samples"):
    finish(np.zeros(150, np.float32), rate=24000)
