"""Sentences cut from text, and who reads them."""

from collections import Counter

import pytest

from soundstorm_jax.data import readings
from soundstorm_jax.data.readings import Reading, cut, deal, read_sentences
from tests import make_audio

VOICES = ("af_one", "am_two", "bf_three", "bm_four")
SENTENCES = [f"sentence {'abcdefghij'[i]}" for i in range(10)]
LINE = "the boat came slowly round the bend of the river in"


def test_cut_halves_long_text_between_words():
  words = [f"word{'abcdefghij'[i % 10]}" for i in range(200)]
  pieces = cut(" ".join(words))
  assert " ".join(piece.rstrip(".") for piece in pieces).split() == words
  for piece in pieces:
    assert readings.LONGEST / 2 - 10 <= len(piece) <= readings.LONGEST + 1


def test_cut_joins_short_sentences_and_drops_a_short_rest():
  text = "Was it? It was. " + "Nobody had seen the harbour so quiet before. Ah."
  (piece,) = cut(text)
  assert piece == text.removesuffix(" Ah.")
  assert cut("Too short.") == []
  assert cut("") == []


def test_cut_drops_what_is_not_said_as_it_is_written():
  assert (
    cut("In 1914 the mill by the river was sold to the two brothers.") == []
  )
  assert cut("x" * (readings.LONGEST + 1)) == []


def test_cut_turns_capitals_alone_to_lower_case():
  assert cut(LINE.upper()) == [LINE + "."]
  mixed = "The boat came slowly round the bend of the river, in July."
  assert cut(mixed) == [mixed]


def test_transcript_is_words_in_capitals():
  reading = Reading("v", 0, "the captain's well-kept boat, at last.", 1.0)
  assert reading.transcript == "THE CAPTAIN'S WELL KEPT BOAT AT LAST"


def test_sentences_of_plain_text(tmp_path):
  (tmp_path / "b").mkdir()
  (tmp_path / "a.txt").write_text(f"{LINE}\nnear\n\n{LINE} far.", "utf-8")
  (tmp_path / "b" / "c.txt").write_text(f"{LINE} far.", "utf-8")
  expected = [f"{LINE} near.", f"{LINE} far."]
  assert read_sentences(tmp_path / "a.txt") == expected
  assert read_sentences(tmp_path) == expected


def test_sentences_of_held_out_speakers_are_left_out(tmp_path):
  make_audio.write_folder(tmp_path, {"7": [0.1, 0.1], "8": [0.1, 0.1]})
  for speaker, other in (("7", "HERE"), ("8", "THERE")):
    path = tmp_path / speaker / "1" / f"{speaker}-1.trans.txt"
    path.write_text(
      f"{speaker}-1-0000 {LINE.upper()} {other}\n"
      f"{speaker}-1-0001 {LINE.upper()} COMMON\n",
      "utf-8",
    )
  kept = read_sentences(tmp_path, held_out_speakers=["8"])
  assert kept == [f"{LINE} here."]
  with pytest.raises(ValueError, match=r"held_out_speakers not in .*: 9"):
    read_sentences(tmp_path, held_out_speakers=["9"])


def test_bad_texts(tmp_path):
  with pytest.raises(ValueError, match=r"no such text: .*nowhere"):
    read_sentences(tmp_path / "nowhere")
  empty = tmp_path / "empty.txt"
  empty.write_text("Short.", "utf-8")
  with pytest.raises(ValueError, match=r"no sentence of 45 to 150 .*empty"):
    read_sentences(empty)
  with pytest.raises(ValueError, match=r"need a folder with transcripts"):
    read_sentences(empty, held_out_speakers=["8"])


def test_each_sentence_is_read_by_different_voices():
  dealt = deal(SENTENCES, VOICES, readings=3, seed=0)
  assert len(dealt) == 30
  assert len({(r.voice, r.text) for r in dealt}) == 30
  assert {r.text for r in dealt[:10]} == set(SENTENCES)
  numbers = {v: [r.number for r in dealt if r.voice == v] for v in VOICES}
  for found in numbers.values():
    assert found == list(range(len(found)))


def test_any_beginning_is_spread_evenly_over_the_voices():
  dealt = deal(SENTENCES, VOICES, readings=1, seed=3)
  for end in range(1, len(dealt) + 1):
    counts = Counter(r.voice for r in dealt[:end])
    per_voice = [counts[voice] for voice in VOICES]
    assert max(per_voice) - min(per_voice) <= 1


def test_speeds_vary_within_bounds():
  speeds = [r.speed for r in deal(SENTENCES, VOICES, readings=4, seed=1)]
  assert len(set(speeds)) > 30
  assert all(0.85 <= speed <= 1.15 for speed in speeds)


def test_seed_decides_and_more_readings_go_on():
  few = deal(SENTENCES, VOICES, readings=1, seed=5)
  many = deal(SENTENCES, VOICES, readings=4, seed=5)
  assert many[: len(few)] == few
  assert deal(SENTENCES, VOICES, readings=1, seed=6) != few


def test_bad_plans():
  with pytest.raises(ValueError, match=r"between 1 and 4, .* got 5"):
    deal(SENTENCES, VOICES, readings=5, seed=0)
  with pytest.raises(ValueError, match=r"between 1 and 4, .* got 0"):
    deal(SENTENCES, VOICES, readings=0, seed=0)
  with pytest.raises(ValueError, match=r"must not be empty"):
    deal([], VOICES, readings=1, seed=0)
