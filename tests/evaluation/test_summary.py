"""Tables, differences and what a report keeps."""

import json

import numpy as np
import pytest

from soundstorm_jax.evaluation import pages, summary
from soundstorm_jax.evaluation.judges import Column, Judgement, Score


class Words:
  """Has but columns: the judgements are given."""

  name = "words 1.0"
  columns = (
    Column("wer", "WER %", 2, "whole utterance"),
    Column("drift", "drift", 3, "later windows"),
  )

  def __call__(self, sample):
    raise AssertionError


ERRORS = {
  "original": [0, 1, 0, 2],
  "reconstruction": [1, 1, 2, 2],
  "prompt": [2, 1, 4, 3],
}
LENGTHS = ["short", "short", "mid", "short"]
WORDS = [10, 20, 50, 20]


def entries(rows=ERRORS):
  for row, errors in rows.items():
    for number, count in enumerate(errors):
      scores = {"wer": Score(100.0 * count, WORDS[number])}
      if LENGTHS[number] != "short":
        scores["drift"] = Score(0.75, 1)
      yield summary.Entry(
        row=row,
        utterance=f"u{number}",
        speaker="s",
        length=LENGTHS[number],
        seconds=5.0,
        voice=f"u{number}",
        stranger="u9",
        text="A & B",
        audio=f"{row}/u{number}.flac",
        judgement=Judgement(scores, "a b"),
      )


@pytest.fixture(scope="module")
def report():
  return summary.summarise(list(entries()), [Words()])


def test_figures_are_of_all_words_together(report):
  measures = report["measures"]
  assert measures["original/wer"] == pytest.approx(3)
  assert measures["prompt_short/wer"] == pytest.approx(12)
  assert measures["prompt_mid/wer"] == pytest.approx(8)
  assert measures["prompt_mid/drift"] == 0.75
  assert "prompt_short/drift" not in measures
  assert measures["prompt_short/n"] == 3
  assert not any("long" in name for name in measures)
  low, high = report["intervals"]["prompt/wer"]
  assert 5 <= low < 10 < high <= 20
  # One utterance has no interval.
  assert "prompt_mid/wer" not in report["intervals"]
  assert "prompt/drift" not in report["intervals"]


def test_differences_are_to_the_codec(report):
  assert set(report["differences"]) == {"prompt/wer", "prompt/drift"}
  assert report["differences"]["prompt/wer"] == pytest.approx(4)
  low, high = report["difference_intervals"]["prompt/wer"]
  # Never fewer errors than the codec's, and at most one in ten words more.
  assert 0 <= low < 4 < high <= 10


def test_the_text_has_the_papers_layout(report):
  blocks = summary.text(report).split("\n\n")
  head, titles, *lines = blocks[0].splitlines()
  assert head.endswith("3 short, 1 mid")
  assert titles.split() == ["WER", "%", "drift"]
  assert lines[0].split() == ["recording", "6.00/0.00", "-/0.750"]
  assert lines[2].split()[-2:] == ["12.00/8.00", "-/0.750"]
  assert blocks[1].splitlines()[-1].split()[-2:] == ["10.00", "0.750"]
  assert "+4.00 (" in blocks[3]
  assert blocks[3].count("\n") == 2
  assert "words 1.0" in blocks[-1]
  assert next(m.name for m in summary.measures_of(report)) == "original/n"


def test_a_report_is_json_and_is_of_its_weights(report, tmp_path):
  path = tmp_path / "evaluation.json"
  assert summary.load_report(path, {"soundstorm": "1"}) is None
  whole = {"weights": {"soundstorm": "1"}} | report
  path.write_text(json.dumps(whole), "utf-8")
  assert summary.load_report(path, {"soundstorm": "2"}) is None
  read = summary.load_report(path, {"soundstorm": "1"})
  assert summary.tabulate(read) == summary.tabulate(report)
  entry = read["utterances"][0]
  assert entry["scores"] == {"wer": [0, 10]}
  assert entry["heard"] == "a b"


def test_the_table_goes_into_a_page(report):
  table = summary.tabulate({"settings": {"prompt_seconds": 3.0}} | report)
  text = pages.template("table.html.j2").render(table=table)
  assert "<strong>10.00</strong>" in text
  assert "12.00/8.00" in text
  assert "words 1.0" in text


def test_refuses_rows_of_different_utterances():
  rows = {"original": [0, 1], "prompt": [0]}
  with pytest.raises(ValueError, match="must be of the same utterances"):
    summary.summarise(list(entries(rows)), [Words()])
  with pytest.raises(ValueError, match="must be of the same utterances"):
    summary.summarise([], [Words()])


def test_rows_need_titles_and_keep_their_order():
  with pytest.raises(ValueError, match=r"row must be .*got 'reconstruction'"):
    summary.summarise(list(entries()), [Words()], titles={"original": "O"})
  titles = {"prompt": "P", "original": "O", "reconstruction": "R", "no": "N"}
  report = summary.summarise(list(entries()), [Words()], titles=titles)
  assert list(report["rows"].values()) == ["P", "O", "R"]
  assert [line.title for line in summary.tabulate(report).lines] == [
    "P",
    "O",
    "R",
  ]


def test_classes_have_the_papers_limits():
  seconds = [3.9, 4, 9.9, 10, 19, 20, 29.9, 30]
  assert [summary.length_class(s) for s in seconds] == (
    [None, "short", "short", "mid", "mid", "long", "long", None]
  )
  assert summary.length_class(float(np.nan)) is None
