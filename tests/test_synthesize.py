"""A set of synthetic speech: made, interrupted, gone on with."""

import numpy as np
import pytest

from soundstorm_jax.data.readings import deal
from soundstorm_jax.data.utterances import find_utterances
from soundstorm_jax.synthesize import main, synthesize

VOICES = ("af_one", "bm_two")
SENTENCES = ["the first of them.", "the second's here.", "a third, too."]
SECOND = np.linspace(-0.5, 0.5, 16000, dtype=np.float32)


class Speaker:
  """Says one second of the same; stops working after `patience` readings."""

  def __init__(self, patience=1000):
    self.said = []
    self._patience = patience

  def __call__(self, reading):
    if len(self.said) == self._patience:
      raise KeyboardInterrupt
    self.said.append(reading)
    return SECOND


def test_speech_with_speakers_and_transcripts(tmp_path):
  dealt = deal(SENTENCES, VOICES, readings=2, seed=0)
  speaker = Speaker()
  hours = synthesize(dealt, tmp_path, speak=speaker)
  assert hours == pytest.approx(6 / 3600)
  assert speaker.said == dealt
  found = find_utterances(tmp_path, held_out_speakers=["bm_two"])
  assert len(found) == 6
  assert {(u.speaker, u.text) for u in found} == {
    (r.voice, r.transcript) for r in dealt
  }
  assert {u.speaker for u in found if u.split == "test"} == {"bm_two"}


def test_interrupted_set_is_valid_and_goes_on(tmp_path):
  dealt = deal(SENTENCES, VOICES, readings=2, seed=0)
  with pytest.raises(KeyboardInterrupt):
    synthesize(dealt, tmp_path, speak=Speaker(patience=3))
  assert len(find_utterances(tmp_path)) == 3
  assert all(u.text for u in find_utterances(tmp_path))
  # A recording that was being written does not count.
  (tmp_path / "af_one" / "kokoro" / "af_one-kokoro-00002.part").touch()
  speaker = Speaker()
  synthesize(dealt, tmp_path, speak=speaker)
  assert speaker.said == dealt[3:]
  again = Speaker()
  synthesize(dealt, tmp_path, speak=again)
  assert not again.said


def test_more_readings_go_on_and_hours_stop(tmp_path):
  few = deal(SENTENCES, VOICES, readings=1, seed=0)
  many = deal(SENTENCES, VOICES, readings=2, seed=0)
  synthesize(few, tmp_path, speak=Speaker())
  speaker = Speaker()
  hours = synthesize(many, tmp_path, speak=speaker, hours=4.5 / 3600)
  assert speaker.said == many[3:5]
  assert hours == pytest.approx(5 / 3600)


def test_other_readings_are_refused(tmp_path):
  synthesize(
    deal(SENTENCES, VOICES, readings=1, seed=0), tmp_path, speak=Speaker()
  )
  before = sorted(tmp_path.rglob("*"))
  speaker = Speaker()
  with pytest.raises(ValueError, match=r"trans.txt is of other readings"):
    synthesize(
      deal(["something else."], VOICES, readings=2, seed=0),
      tmp_path,
      speak=speaker,
    )
  assert not speaker.said
  assert sorted(tmp_path.rglob("*")) == before
  with pytest.raises(ValueError, match="hours must be above 0, got 0"):
    synthesize([], tmp_path, speak=speaker, hours=0)


def test_program_names_bad_input(tmp_path, capsys):
  arguments = ["--kokoro=none", f"--output={tmp_path}"]
  with pytest.raises(SystemExit):
    main([*arguments, f"--text={tmp_path / 'nowhere.txt'}"])
  assert "no such text" in capsys.readouterr().err
