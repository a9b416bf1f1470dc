"""Voices made of one: its spectra stretched, its pitch moved."""

import sys
import types

import numpy as np
import pytest

from soundstorm_jax.data.hibari import Hibari, draw_voice, stretch
from soundstorm_jax.data.synthetic import SAMPLE_RATE, finish

RATE = 24000
BINS = 601


def fake_package(heard):
  """A package with Hibari's interface, which speaks sines at the pitch."""

  class Session:
    def run(self, names, feeds):
      frames = 80 * feeds["ids"].shape[1] // round(float(feeds["speed"][0]))
      spectra = np.zeros((1, BINS, frames), np.float32)
      spectra[:, 100] = 1.0
      pitch = np.full((1, frames), 200.0, np.float32)
      return [pitch if name == "f0" else spectra for name in names]

  class Model:
    def __init__(self, threads):
      self.sess = Session()

    def phonemize(self, text):
      return text.split()

    def ids(self, phonemes):
      return [0, *range(1, len(phonemes) + 1), 0]

  def synth(harmonics, turn, noise, rest, phase, pitch, rng):
    heard.append((harmonics, pitch))
    step = np.repeat(pitch, RATE // 80) / RATE
    return np.sin(2 * np.pi * np.cumsum(step)).astype(np.float32)

  return types.SimpleNamespace(
    Hibari=Model, SAMPLE_RATE=RATE, dsp=types.SimpleNamespace(synth=synth)
  )


def loudest_hertz(audio):
  spectrum = np.abs(np.fft.rfft(audio))
  return np.argmax(spectrum) * SAMPLE_RATE / len(audio)


def test_voices_have_their_pitch_and_formants(monkeypatch):
  heard = []
  monkeypatch.setitem(sys.modules, "hibari", fake_package(heard))
  model = Hibari(voices=5)
  assert model.voices == ("h000", "h001", "h002", "h003", "h004")
  own = model.speak("abcdef gh", voice="h000")
  assert loudest_hertz(own) == pytest.approx(200, abs=3)
  assert len(heard) == 2
  assert np.argmax(heard[0][0][:, 0]) == 100
  for number in range(1, 5):
    heard.clear()
    drawn = draw_voice(number)
    audio = model.speak("abcdef", voice=f"h{number:03}")
    assert loudest_hertz(audio) == pytest.approx(200 * drawn.pitch, abs=4)
    # What was at bin 100, without the balance of frequencies that all share.
    harmonics, _ = heard[0]
    slow = np.convolve(harmonics[:, 0], np.ones(31) / 31, "same")
    peak = 16 + np.argmax((harmonics[:, 0] - slow)[16:-16])
    assert peak == pytest.approx(100 * drawn.formants, abs=1.5)


def test_bad_input_is_refused(monkeypatch):
  monkeypatch.setitem(sys.modules, "hibari", fake_package([]))
  with pytest.raises(ValueError, match="voices must be between 1 and 1000"):
    Hibari(voices=0)
  model = Hibari(voices=2)
  with pytest.raises(ValueError, match="no voice 'h002' among 2"):
    model.speak("a", voice="h002")
  with pytest.raises(ValueError, match="nothing to speak in ' '"):
    model.speak(" ", voice="h000")
  with pytest.raises(ValueError, match="100 silent samples"):
    finish(np.zeros(150, np.float32), rate=24000)


def test_drawn_voices_differ_and_stay_human():
  drawn = [draw_voice(seed) for seed in range(200)]
  assert len(set(drawn)) == 200
  assert draw_voice(7) == drawn[7]
  pitch = np.array([voice.pitch for voice in drawn])
  formants = np.array([voice.formants for voice in drawn])
  # Of a voice of 200 Hz.
  assert 55 < 200 * pitch.min() < 90
  assert 230 < 200 * pitch.max() < 400
  assert 0.7 < formants.min() < 0.85
  assert 1.05 < formants.max() < 1.25
  assert np.corrcoef(np.log(pitch), formants)[0, 1] > 0.7


@pytest.mark.parametrize("factor", [0.8, 1.0, 1.1])
def test_stretch(factor):
  spectra = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)
  slow = np.empty_like(spectra)
  for k in range(40):
    place = min(k / factor, 39)
    low = min(int(place), 38)
    slow[k] = spectra[low] + (place - low) * (spectra[low + 1] - spectra[low])
  np.testing.assert_allclose(stretch(spectra, factor), slow, atol=1e-5)
