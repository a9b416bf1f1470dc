"""What is ours of the judges; and, where they are installed, what they hear."""

import importlib.util
import pathlib
import sys

import numpy as np
import pytest
import soundfile

from soundstorm_jax.evaluation import judges
from soundstorm_jax.evaluation.judges import RATE, quality, voice, words

SPEECH = pathlib.Path(judges.__file__).parents[2] / "demo" / "speech"
TEXT = (
  "If the weather stays this clear, we could walk to the lighthouse and be "
  "back before the kettle boils."
)


def test_refuses_unknown_judges():
  with pytest.raises(ValueError, match=r"of moonshine, .*got 'nobody'"):
    judges.make(["nobody"])
  with pytest.raises(ValueError, match="judges must be of"):
    judges.make([])


def test_says_what_to_install():
  with pytest.raises(
    ImportError, match=r"no_such_judge .*soundstorm-jax\[eval"
  ):
    judges.require("no_such_judge")


def test_placeholders_stand_in_during_the_import_only(tmp_path, monkeypatch):
  (tmp_path / "judge_of_noise.py").write_text("import no_such_part as part\n")
  monkeypatch.syspath_prepend(tmp_path)
  module = judges.require("judge_of_noise", no_such_part={"answer": 42})
  assert module.part.answer == 42
  assert "no_such_part" not in sys.modules
  # What can be imported is not replaced.
  (tmp_path / "judge_of_json.py").write_text("import json\n")
  module = judges.require("judge_of_json", json={})
  assert module.json.dumps(1) == "1"


def test_the_end_of_a_transcript_is_its_shortest_best():
  assert words.best_start([3, 1, 1, 2]) == 2
  assert words.best_start([0]) == 0


def test_windows_cover_everything():
  audio = np.arange(100, dtype=np.float32)
  for size in (30, 40, 99):
    parts = quality.windows(audio, size)
    starts = [int(part[0]) for part in parts]
    assert {len(part) for part in parts} == {size}
    assert (starts[0], parts[-1][-1]) == (0, 99)
    assert all(np.diff(starts) <= size / 2 + 1)
  for size in (100, 200):
    (only,) = quality.windows(audio, size)
    np.testing.assert_array_equal(only, audio)


def test_later_windows_are_whole():
  audio = np.zeros(int(7.5 * RATE), np.float32)
  assert [len(part) for part in voice.windows(audio)] == [3 * RATE, 3 * RATE]
  assert voice.windows(audio[: 2 * RATE]) == []


def test_cosines():
  one = np.array([3.0, 4.0])
  assert voice.cosine(one, 2 * one) == pytest.approx(1)
  assert voice.cosine(one, np.array([4.0, -3.0])) == pytest.approx(0)
  for other in (np.zeros(2), np.zeros(1), np.array([np.nan, 1])):
    assert voice.cosine(one, other) == 0


def sample(**changes):
  def read(name):
    audio, rate = soundfile.read(
      SPEECH / name[:-3] / f"{name}.ogg", dtype="float32"
    )
    assert rate == RATE
    return audio

  audio = read("af_heart_03")
  fields = {
    "utterance": "af_heart_03",
    "audio": audio,
    "text": TEXT,
    "recording": audio,
    "voice": read("af_heart_01")[: 3 * RATE],
    "stranger": read("bm_george_01")[: 3 * RATE],
    "skip": 2 * RATE,
  }
  return judges.Sample(**fields | changes)


NOISE = np.random.default_rng(0).normal(0, 0.1, 6 * RATE).astype(np.float32)


def need(module):
  """Skips without it; importing it would miss what stands in for its parts."""
  if importlib.util.find_spec(module) is None:
    pytest.skip(f"{module} is not installed")


def mean(judgement, column):
  total, count = judgement.scores[column]
  return total / count


@pytest.mark.slow
def test_moonshine_understands():
  need("moonshine_voice")
  judge = words.Moonshine()
  assert "moonshine-voice" in judge.name
  said = judge(sample())
  assert mean(said, "wer") < 15
  assert mean(said, "cer") < mean(said, "wer") + 1e-6
  assert mean(said, "wer_rest") < 25
  assert said.scores["wer"].count == len(TEXT.split())
  assert 5 < said.scores["wer_rest"].count < len(TEXT.split())
  assert said.heard.startswith("if the weather")
  assert mean(judge(sample(audio=NOISE)), "wer") > 80


@pytest.mark.slow
@pytest.mark.parametrize("name", ["dnsmos", "distillmos"])
def test_speech_sounds_better_than_noise(name):
  need({"dnsmos": "speechmos"}.get(name, name))
  (judge,) = judges.make([name])
  for column in judge.columns:
    good = mean(judge(sample()), column.name)
    bad = mean(judge(sample(audio=NOISE)), column.name)
    assert 1 <= bad < 2.6 < 3 < good <= 5


@pytest.mark.slow
def test_resemblyzer_knows_voices():
  need("resemblyzer")
  judge = voice.Resemblyzer()
  said = judge(sample())
  assert mean(said, "voice") > 0.75
  assert mean(said, "stranger") < 0.65
  assert 0.6 < mean(said, "consistency") <= 1
  silence = judge(sample(audio=0 * NOISE))
  assert mean(silence, "voice") == 0
