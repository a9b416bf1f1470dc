"""Speech is drawn, generated, judged and shown, with a judge of our own."""

import html.parser
import json
import pathlib
import types
from fractions import Fraction

import numpy as np
import pytest
import soundfile
from matplotlib import pyplot

from soundstorm_jax import evaluate
from soundstorm_jax.data.utterances import find_utterances
from soundstorm_jax.evaluation import judges, pages, speech, summary
from soundstorm_jax.evaluation.judges import RATE, Column, Judgement, Score
from soundstorm_jax.evaluation.plot import plot_rows
from soundstorm_jax.evaluation.rows import speak, titles
from soundstorm_jax.soundstorm.config import SamplerConfig, default_sampler
from soundstorm_jax.speech.layout import Limits
from soundstorm_jax.speech.loading import load
from soundstorm_jax.speech.model import SpeechModel
from soundstorm_jax.speech.requests import SpeechTokens
from tests.make_audio import write_folder
from tests.tiny_weights import Q, write_weights

# None is long, to spare a compilation.
SECONDS = {
  "10": [4.2, 4.4, 4.6, 4.8, 10.5],
  "20": [4.3, 10.2, 1.0, 31.0],
  "30": [5.0],
}


class Listener:
  """Measures what it is given, and keeps it."""

  name = "listener 1.0"
  columns = (
    Column("rms", "RMS", 4, "of what follows the prompt"),
    Column("seconds", "seconds", 2, "of the whole"),
  )

  def __init__(self):
    self.samples = []

  def __call__(self, sample):
    self.samples.append(sample)
    rms = float(np.sqrt(np.mean(np.square(sample.rest))))
    scores = {
      "rms": Score(rms, 1),
      "seconds": Score(len(sample.audio) / RATE, 1),
    }
    return Judgement(scores, heard="a hum")


@pytest.fixture(scope="module")
def audio(tmp_path_factory):
  folder = write_folder(tmp_path_factory.mktemp("audio"), SECONDS)
  for speaker, lengths in SECONDS.items():
    lines = [f"{speaker}-1-{n:04} TEXT {n}" for n in range(len(lengths))]
    path = folder / speaker / "1" / f"{speaker}-1.trans.txt"
    path.write_text("\n".join(lines) + "\n", "utf-8")
  return folder


@pytest.fixture(scope="module")
def utterances(audio):
  return find_utterances(audio)


def names(contents):
  return [content.utterance.id for content in contents]


def test_draws_from_every_class_in_turn(utterances):
  contents = speech.draw(utterances, per_speaker=2)
  by_speaker = {}
  for content in contents:
    by_speaker.setdefault(content.utterance.speaker, []).append(content)
  assert {k: len(v) for k, v in by_speaker.items()} == {
    "10": 2,
    "20": 2,
    "30": 1,
  }
  for speaker in ("10", "20"):
    lengths = [content.length for content in by_speaker[speaker]]
    assert sorted(lengths) == ["mid", "short"]
  for content in contents:
    assert content.other.speaker != content.utterance.speaker
    assert content.other.id in names(contents)
  # Neither the short ones nor the long ones of 20.
  assert len(speech.draw(utterances)) == 8


def test_the_seed_decides(utterances):
  drawn = [
    names(speech.draw(utterances, per_speaker=2, seed=seed))
    for seed in (0, 0, 1, 2, 3)
  ]
  assert drawn[0] == drawn[1]
  assert len({*map(tuple, drawn)}) > 1
  # Other speakers change nothing.
  fewer = [u for u in utterances if u.speaker != "30"]
  assert names(speech.draw(fewer, per_speaker=2)) == [
    name for name in drawn[0] if not name.startswith("30")
  ]


def test_refuses_what_it_cannot_draw_from(utterances):
  with pytest.raises(ValueError, match="must be at least 1, got 0"):
    speech.draw(utterances, per_speaker=0)
  alone = [u for u in utterances if u.speaker == "10"]
  with pytest.raises(ValueError, match="at least 2 speakers, got 1"):
    speech.draw(alone)


@pytest.fixture(scope="module")
def run(tmp_path_factory, audio):
  """The program, with our judge and tiny random weights."""
  folder = tmp_path_factory.mktemp("run")
  listener = Listener()

  def quick(*args, **kwargs):
    sampler = SamplerConfig(iterations=(2,) + (1,) * (Q - 1))
    return load(*args, **kwargs, sampler=sampler)

  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(judges, "make", lambda names: [listener])
    patch.setattr(speech, "load", quick)
    status = evaluate.main(
      [
        "--what=speech",
        f"--audio={audio}",
        "--speakers=20,30",
        "--max_utterances_per_speaker=1",
        f"--weights={write_weights(folder / 'weights')}",
        "--batch_size=2",
        f"--output={folder / 'report'}",
      ]
    )
  assert status == 0
  return folder, listener.samples


def test_every_row_is_of_the_same_speech(run):
  _, samples = run
  rows = [row for row in summary.ROWS if not row.startswith("audiolm")]
  assert len(samples) == 2 * len(rows)
  for number, name in enumerate(["20-1-0000", "30-1-0000"]):
    own = samples[number * len(rows) : (number + 1) * len(rows)]
    other = samples[(1 - number) * len(rows)]
    by_row = dict(zip(rows, own, strict=True))
    original = by_row["original"]
    np.testing.assert_array_equal(original.audio, original.recording)
    for row, sample in by_row.items():
      assert sample.utterance == name
      assert sample.text == "TEXT 0"
      assert len(sample.audio) == len(original.audio)
      assert len(sample.rest) == len(sample.audio) - 3 * RATE
      wanted, unwanted = original.recording, other.recording
      if row == "conversion":
        wanted, unwanted = unwanted, wanted
      np.testing.assert_array_equal(sample.voice, wanted[: 3 * RATE])
      np.testing.assert_array_equal(sample.stranger, unwanted[: 3 * RATE])
    # The prompt is the codec's; the rest is the model's.
    codec, prompted = by_row["reconstruction"].audio, by_row["prompt"].audio
    np.testing.assert_array_equal(prompted[: 3 * RATE], codec[: 3 * RATE])
    assert (prompted[3 * RATE :] != codec[3 * RATE :]).any()
    generated = [by_row[row].audio for row in ("no_prompt", "conversion")]
    assert (generated[0][: 3 * RATE] != codec[: 3 * RATE]).any()
    assert (generated[0] != generated[1]).any()


def test_the_report_has_everything(run):
  folder, samples = run
  path = folder / "report" / pages.JSON
  report = json.loads(path.read_text("utf-8"))
  assert set(report["weights"]) == {"soundstorm", "soundstream", "semantic"}
  assert report["settings"]["speakers"] == ["20", "30"]
  assert report["settings"]["sampler"]["iterations"] == [2, 1, 1]
  assert report["judges"] == ["listener 1.0"]
  assert len(report["utterances"]) == len(samples)
  for entry, sample in zip(report["utterances"], samples, strict=True):
    info = soundfile.info(folder / "report" / entry["audio"])
    assert info.frames == len(sample.audio)
    assert entry["scores"]["seconds"] == [info.duration, 1]
    assert entry["heard"] == "a hum"
  measures = report["measures"]
  assert measures["original/n"] == 2
  assert measures["prompt_short/seconds"] == pytest.approx((4.3 + 5) / 2)
  assert summary.load_report(path, report["weights"]) == report


class _Tags(html.parser.HTMLParser):
  def __init__(self):
    super().__init__()
    self.sources = []

  def handle_starttag(self, tag, attrs):
    if tag == "audio":
      self.sources.append(dict(attrs)["src"])


def test_the_page_plays_every_row(run):
  folder, samples = run
  page = folder / "report" / pages.PAGE
  text = page.read_text("utf-8")
  tags = _Tags()
  tags.feed(text)
  # Of conversions the voice wanted, too.
  assert len(tags.sources) == len(samples) + 2
  for source in tags.sources:
    assert (page.parent / pathlib.PurePosixPath(source)).is_file()
  assert text.count("a hum") == len(samples)
  assert "listener 1.0" in text


@pytest.fixture(scope="module")
def voices():
  """A model, and another on the same tokens, that make what can be told."""

  # By its base class a model to the annotations; nothing of that is used.
  class Voice(SpeechModel):
    sample_rate, hop, sampler = 16000, 320, default_sampler(Q)
    limits = Limits(Q, 16, 8, Fraction(25), Fraction(50), (300, 650))
    codec = types.SimpleNamespace(
      decode=lambda tokens: np.zeros((1, tokens.shape[1] * 320), np.float32)
    )

    def __init__(self, value):
      self.value = value
      self.asked = []

    def encode(self, audio, rate):
      frames = -(-len(audio) // 320)
      return SpeechTokens(
        np.zeros(-(-frames // 2), np.int32), np.zeros((frames, Q), np.int32)
      )

    def generate_batch(self, requests, *, sampler=None):
      self.asked.append((requests, sampler))
      times = types.SimpleNamespace(compile_s=1.0, run_s=2.0, audio_s=3.0)
      return [
        types.SimpleNamespace(
          audio=np.full(r.frames * 320, self.value, np.float32), times=times
        )
        for r in requests
      ]

  return Voice


def test_the_baseline_is_asked_for_the_same(utterances, voices):
  contents = speech.draw(utterances, per_speaker=1)
  model, audiolm = voices(0.25), voices(0.5)
  rows, times = speak(contents, model, prompt_seconds=3.0, audiolm=audiolm)
  assert set(rows) == set(summary.ROWS)
  assert len(model.asked) == 3
  for (ours, _), (theirs, _) in zip(
    model.asked[:2], audiolm.asked, strict=True
  ):
    assert ours is theirs
  for number in range(len(contents)):
    assert (rows["audiolm_no_prompt"][number] == 0.5).all()
    prompted = rows["audiolm_prompt"][number]
    assert (prompted[: 3 * RATE] == 0).all()
    assert (prompted[3 * RATE :] == 0.5).all()
    assert (rows["prompt"][number][3 * RATE :] == 0.25).all()
  assert (times["run_s"], times["audiolm_run_s"]) == (6.0, 4.0)


def test_iterations_take_the_place_of_the_rows(utterances, voices, tmp_path):
  contents = speech.draw(utterances, per_speaker=1)
  model = voices(0.25)
  rows, _ = speak(contents, model, prompt_seconds=3.0, iterations=(1, 4))
  assert list(rows) == [
    "original",
    "reconstruction",
    "iterations_1",
    "iterations_4",
  ]
  assert [sampler.iterations for _, sampler in model.asked] == [
    (1, 1, 1),
    (4, 1, 1),
  ]
  listener = Listener()
  entries = speech.judge(
    contents, rows, [listener], sample_rate=16000, prompt_seconds=3.0
  )
  report = summary.summarise(entries, [listener], titles=titles((1, 4)))
  assert "prompt, 4 at level 1" in summary.text(report)
  assert report["measures"]["iterations_4/rms"] == pytest.approx(0.25)
  names = {count: f"iterations_{count}" for count in (1, 4)}
  plot_rows(report, names, label="iterations", output=tmp_path / "plot.png")
  assert pyplot.imread(tmp_path / "plot.png").std() > 0.05


@pytest.mark.parametrize("counts", [(0,), (2, 2), (4, -1)])
def test_iterations_that_cannot_be(counts):
  with pytest.raises(ValueError, match="compare_iterations must"):
    speech.check_iterations(counts)


def test_says_what_is_missing(audio, capsys):
  with pytest.raises(SystemExit):
    evaluate.main(["--what=speech"])
  assert "--audio" in capsys.readouterr().err
  with pytest.raises(ValueError, match="prompt_seconds must be above 0"):
    evaluate.main(["--what=speech", f"--audio={audio}", "--prompt_seconds=0"])
  with pytest.raises(ValueError, match="judges must be of"):
    evaluate.main(["--what=speech", f"--audio={audio}", "--judges=nobody"])
  for text in ("4,x", "1,,2"):
    with pytest.raises(SystemExit):
      evaluate.main(["--what=speech", f"--compare_iterations={text}"])
    complaint = capsys.readouterr().err
    assert f"--compare_iterations: '{text}' must be values" in complaint
  with pytest.raises(ValueError, match="leave audiolm out"):
    evaluate.main(
      [
        "--what=speech",
        f"--audio={audio}",
        "--audiolm",
        "--compare_iterations=1",
      ]
    )
