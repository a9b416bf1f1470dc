"""Alignment: what is said when, and what is no transcript."""

import pathlib

import numpy as np
import pytest

from soundstorm_jax.data import phones
from soundstorm_jax.data.audio_files import read_audio
from soundstorm_jax.semantic import align
from tests import make_audio

_RECORDING = (
  pathlib.Path(align.__file__).parents[1]
  / "demo/speech/af_heart/af_heart_03.ogg"
)
_TEXT = (
  "If the weather stays this clear, we could walk to the lighthouse and be "
  "back before the kettle boils."
)


@pytest.mark.parametrize(
  ("text", "words"),
  [
    ("It\u2019s HALF-past two!", "it's half past two"),
    ("'Twas the dogs' day", "twas the dogs day"),
    ("1999", ""),
  ],
)
def test_words_are_those_of_a_dictionary(text, words):
  assert align.normalise(text) == words


def test_a_guess_has_a_phone_for_every_sound():
  assert align.guess_sounds("quiche") == "K W IH CH"
  assert align.guess_sounds("e") == "EH"
  sounds = " ".join(align._SOUNDS.values()).split()
  assert set(sounds) <= set(phones.PHONES)


@pytest.fixture(scope="module")
def aligner():
  pytest.importorskip("pocketsphinx")
  return align.make_aligner()


def test_phones_come_in_their_order(aligner):
  audio = read_audio(_RECORDING, 16000)
  numbers = aligner(audio, _TEXT)
  assert numbers.size == -(-audio.size // 160)
  changes = np.append(0, np.flatnonzero(np.diff(numbers)) + 1)
  found = [phones.PHONES[numbers[place]] for place in changes]
  spoken = [name for name in found if name != "SIL"]
  assert spoken[:5] == ["IH", "F", "DH", "AH", "W"]
  assert spoken[-3:] == ["OY", "L", "Z"]


def test_a_word_of_no_dictionary_is_marked_as_unknown(aligner):
  audio = read_audio(_RECORDING, 16000)
  numbers = aligner(audio, _TEXT.replace("weather", "wethur"))
  unknown = np.flatnonzero(numbers == phones.UNKNOWN)
  assert 10 < unknown.size < 60
  assert np.ptp(unknown) == unknown.size - 1  # In one piece.


def test_what_is_not_said_is_not_found(aligner):
  assert aligner(np.zeros(3200, np.float32), "too much for so little") is None
  assert aligner(np.zeros(3200, np.float32), "") is None


def test_the_program_writes_what_training_reads(aligner, tmp_path):
  folder = make_audio.write_folder(tmp_path / "audio", {"1": [0.2, 0.2]})
  (folder / "1" / "1" / "1-1.trans.txt").write_text("1-1-0000 \n")
  output = tmp_path / "phones.csv"
  align.main([f"--audio={folder}", f"--output={output}"])
  assert phones.read_phones(output) == {}
