"""Codec quality: means over recordings, by levels, with judges of our own."""

import builtins

import numpy as np
import pytest

from soundstorm_jax.evaluation.codec import codec_quality, speech_metrics

RATE, HOP = 800, 8


class Rounding:
  """A codec whose level q adds one bit: it rounds each frame's first sample."""

  sample_rate = RATE
  tokens_per_second = RATE // HOP
  vocabulary = 2
  levels = 3
  fingerprint = "rounding"

  def __init__(self):
    self.shapes = set()

  def encode(self, audio, lengths):
    values = audio[:, ::HOP]
    bits = np.floor(values * 8).astype(np.int32)
    return np.stack([bits >> 2 & 1, bits >> 1 & 1, bits & 1], axis=-1)

  def decode(self, tokens):
    self.shapes.add(tokens.shape)
    weights = 0.5 ** np.arange(1, tokens.shape[-1] + 1)
    return np.repeat((tokens * weights).sum(-1), HOP, axis=1)


def recordings(*lengths):
  rng = np.random.default_rng(0)
  return [
    np.repeat(rng.integers(0, 8, -(-n // HOP)) / 8, HOP)[:n].astype(np.float32)
    for n in lengths
  ]


def error(reference, result, rate):
  assert reference.shape == result.shape
  assert rate == RATE
  return float(np.abs(reference - result).max())


def length(reference, result, rate):
  del result, rate
  return float(reference.size) if reference.size >= 100 else None


def test_means_by_level():
  codec = Rounding()
  audio = recordings(805, 200, 1700)
  measures = dict(
    codec_quality(
      codec, audio, levels=(1, 3), metrics={"error": error, "length": length}
    )
  )
  assert list(measures) == [
    f"levels_{q}/{column}"
    for q in ("01", "03")
    for column in ("error", "length", "kbps", "recordings", "left_out")
  ]
  expected = np.mean([np.max(np.floor(a * 8) % 4) / 8 for a in audio])
  assert measures["levels_01/error"] == pytest.approx(expected)
  assert measures["levels_03/error"] == 0
  assert measures["levels_01/length"] == (805 + 200 + 1700) / 3
  assert measures["levels_03/kbps"] == pytest.approx(0.3)
  assert measures["levels_01/recordings"] == 3


def test_lengths_share_few_shapes():
  codec = Rounding()
  audio = recordings(*range(805, 1600, 101))
  list(codec_quality(codec, audio, levels=(2,), metrics={"error": error}))
  assert codec.shapes == {(1, 200, 2)}


def test_recordings_beyond_a_judge_count_nowhere():
  audio = [np.full(50, 7 / 8, np.float32), *recordings(400)]
  metrics = {"error": error, "length": length}
  judged = dict(codec_quality(Rounding(), audio, levels=(1,), metrics=metrics))
  alone = dict(
    codec_quality(Rounding(), audio[1:], levels=(1,), metrics=metrics)
  )
  assert judged["levels_01/left_out"] == 1
  assert judged | {"levels_01/left_out": 0} == alone
  with pytest.raises(ValueError, match="none of 1 recordings"):
    list(codec_quality(Rounding(), audio[:1], levels=(1,), metrics=metrics))


@pytest.mark.parametrize("levels", [(), (0,), (1, 4), (2, 2)])
def test_refuses_levels_that_are_not_there(levels):
  with pytest.raises(ValueError, match="levels must be different numbers"):
    list(codec_quality(Rounding(), [], levels=levels, metrics={}))


def test_names_the_extra_that_is_missing(monkeypatch):
  real = builtins.__import__

  def without_pesq(name, *args, **kwargs):
    if name == "pesq":
      raise ImportError("no module named pesq")
    return real(name, *args, **kwargs)

  monkeypatch.setattr(builtins, "__import__", without_pesq)
  with pytest.raises(ImportError, match=r"soundstorm-jax\[eval\]"):
    speech_metrics()


def test_stoi_and_pesq_fall_with_noise():
  pytest.importorskip("pesq", reason="needs the extra 'eval'")
  pytest.importorskip("pystoi", reason="needs the extra 'eval'")
  metrics = speech_metrics()
  rng = np.random.default_rng(0)
  rate = 16000
  seconds = np.arange(3 * rate) / rate
  # Bursts of harmonics, as syllables are.
  speech = sum(np.sin(2 * np.pi * 150 * k * seconds) / k for k in range(1, 20))
  speech = 0.1 * speech * (np.sin(2 * np.pi * 2 * seconds) > 0)
  noise = rng.normal(size=speech.size)
  for metric in metrics.values():
    scores = [metric(speech, speech + g * noise, rate) for g in (0, 0.01, 0.3)]
    assert scores[0] > scores[1] > scores[2]
  assert metrics["stoi"](speech, speech, rate) == pytest.approx(1, abs=1e-3)
  assert metrics["pesq"](speech, speech, rate) == pytest.approx(4.64, abs=0.01)
  for metric in metrics.values():
    assert metric(speech[:2000], speech[:2000], rate) is None
  assert metrics["pesq"](speech, 0 * speech, rate) is None
