"""The demo's page and its training run, with tiny random weights."""

import base64
import html.parser
import io
import json
import re
import sys

import numpy as np
import pytest
import soundfile

import soundstorm_jax
from soundstorm_jax.demo import __main__ as demo
from soundstorm_jax.demo import page, training
from soundstorm_jax.generate import generate
from soundstorm_jax.soundstorm.config import SamplerConfig
from soundstorm_jax.speech.jobs import Job
from soundstorm_jax.training.writer import TensorBoardWriter
from tests.tiny_weights import Q, write_weights

RATE = 16000
SENTENCES = demo.SENTENCES[:1]


class _Speech:
  """The demo speech as a library, a second of each."""

  def __init__(self, model):
    self._model = model

  def tokens(self, name):
    path = demo.SPEECH / f"{name}.ogg"
    audio, _ = soundfile.read(path, dtype="float32", frames=RATE)
    return self._model.encode(audio, RATE)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
  """Everything that the page shows."""
  folder = tmp_path_factory.mktemp("demo")
  model = soundstorm_jax.load(
    write_weights(folder / "weights"),
    batch_size=3,
    buckets=(128,),
    sampler=SamplerConfig(iterations=(2,) + (1,) * (Q - 1)),
  )
  library = _Speech(model)
  generate(
    demo.sample_jobs(SENTENCES),
    folder / "generated",
    model=model,
    content=library,
    prompt_seconds=0.5,
  )
  run = training.Run(
    train=[training.Point(2, 3.5), training.Point(4, 2.25)],
    held_out=[training.Point(4, 2.75)],
    resumed_after=3,
    lines=[],
  )
  report = {
    "weights": model.fingerprints,
    "settings": {"prompt_seconds": 3.0},
    "judges": ["listener 1.0"],
    "rows": {"prompt": "SoundStorm, prompt"},
    "columns": {"wer": {"title": "WER %", "digits": 2, "note": "of all"}},
    "measures": {
      "prompt/n": 1,
      "prompt/wer": 12.5,
      "prompt_mid/n": 1,
      "prompt_mid/wer": 12.5,
    },
    "intervals": {},
    "differences": {},
    "difference_intervals": {},
  }
  (folder / "evaluation.json").write_text(json.dumps(report), "utf-8")
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(page, "SHIPPED", folder)
    page.write(
      folder / "index.html",
      model=model,
      speech=demo.SPEECH,
      generated=folder / "generated",
      codec_only={
        s.content: model.decode(library.tokens(s.content).acoustic)
        for s in SENTENCES
      },
      run=run,
      seconds={"first": 1.25, "second": 2.0},
      prompt_seconds=0.5,
      is_shipped=True,
    )
  return folder


class _Tags(html.parser.HTMLParser):
  """Start tags with their attributes; refuses tags that do not nest."""

  _EMPTY = ("meta", "img", "br", "link", "input", "hr")

  def __init__(self):
    super().__init__()
    self.tags = []
    self.open = []

  def handle_starttag(self, tag, attrs):
    self.tags.append((tag, dict(attrs)))
    if tag not in self._EMPTY:
      self.open.append(tag)

  def handle_endtag(self, tag):
    assert self.open.pop() == tag

  def named(self, name):
    return [attrs for tag, attrs in self.tags if tag == name]


@pytest.fixture(scope="module")
def tags(made):
  parser = _Tags()
  parser.feed((made / "index.html").read_text("utf-8"))
  assert not parser.open
  return parser


def test_every_sound_can_be_played(made, tags):
  sounds = tags.named("audio")
  # Original, codec, three generated, and two prompts.
  assert len(sounds) == 7
  lengths = []
  for attrs in sounds:
    assert attrs["aria-label"]
    kind, data = attrs["src"].split(",")
    assert kind == "data:audio/flac;base64"
    audio, rate = soundfile.read(io.BytesIO(base64.b64decode(data)))
    assert rate == RATE
    lengths.append(len(audio) / rate)
  original = soundfile.info(demo.SPEECH / f"{SENTENCES[0].content}.ogg")
  assert lengths[0] == pytest.approx(original.duration, abs=1e-3)
  assert lengths[1:] == [1, 1, 1, 0.5, 1, 0.5]
  wav, _ = soundfile.read(
    made / f"generated/no_prompt/{SENTENCES[0].content}.wav"
  )
  data = sounds[2]["src"].partition(",")[2]
  audio, _ = soundfile.read(io.BytesIO(base64.b64decode(data)))
  np.testing.assert_array_equal(audio, wav)


def test_the_page_needs_no_network_and_is_accessible(made, tags):
  for _, attrs in tags.tags:
    for name in ("src", "href"):
      assert attrs.get(name, "#").startswith(("#", "data:"))
  text = (made / "index.html").read_text("utf-8")
  assert not re.search(r"https?://", re.sub(r'"data:[^"]*"', "", text))
  images = tags.named("img")
  assert len(images) == 6
  assert all(len(attrs["alt"]) > 20 for attrs in images)
  ids = {attrs["id"] for _, attrs in tags.tags if "id" in attrs}
  assert {a["href"][1:] for a in tags.named("a")} <= ids
  assert tags.named("html")[0]["lang"] == "en"


def test_the_tables_hold_what_was_measured(made):
  text = (made / "index.html").read_text("utf-8")
  assert "from 3.50 nats to\n2.25" in text
  assert "After step\n3 it was told to stop" in text
  assert "<td>second</td><td>2.0</td>" in text
  assert "<strong>12.50</strong>" in text
  assert "listener 1.0" in text
  # One batch of three requests, 4 passes.
  assert "<td>1</td><td>3</td><td>128</td><td>4</td>" in text


def test_a_tone_shows_at_its_frequency():
  tone = np.sin(2 * np.pi * 1000 * np.arange(RATE) / RATE)
  decibels = page.mel_decibels(tone.astype(np.float32), RATE)
  assert decibels.shape == (RATE // 256, 80)
  middle = decibels[20:40]
  centre = 80 * page._mel(1000) / page._mel(8000)
  assert abs(middle.mean(0).argmax() + 0.5 - centre) <= 1
  assert -6 < middle.max() < 3


def test_speakers_have_readable_names():
  assert page.speaker_name("bm_george") == "George (British, male)"
  for other in ("1272", "my_voice", "zz_top"):
    assert page.speaker_name(other) == other


def test_losses_come_from_the_event_files(tmp_path):
  writer = TensorBoardWriter(tmp_path)
  for step, loss in ((10, 3.0), (20, 2.5)):
    writer.write_scalars(step, {"train/loss": loss, "train/top1": 0.5})
  writer.write_scalars(20, {"eval/loss": 2.75})
  writer.close()
  train, held_out = training.read_losses(tmp_path)
  assert train == [(10, 3.0), (20, 2.5)]
  assert held_out == [(20, 2.75)]


def test_each_sentence_is_asked_for_in_three_ways():
  jobs = demo.sample_jobs(demo.SENTENCES)
  assert len({job.id for job in jobs}) == 3 * len(demo.SENTENCES)
  assert jobs[0] == Job(
    "no_prompt/af_heart/af_heart_01", "af_heart/af_heart_01"
  )
  for sentence in demo.SENTENCES:
    for name in sentence:
      assert (demo.SPEECH / f"{name}.ogg").is_file()
    speaker = sentence.content.split("/")[0]
    assert sentence.own != sentence.content
    assert sentence.own.split("/")[0] == speaker
    assert sentence.other.split("/")[0] != speaker


def test_only_its_own_output_is_removed(tmp_path):
  with pytest.raises(ValueError, match="steps must be at least 2"):
    demo.main(["--steps=1"])
  output = tmp_path / "out"
  demo._clear(output)
  (output / "old").touch()
  assert [path.name for path in demo._clear(output).iterdir()] == [demo._MARK]
  (tmp_path / "mine").touch()
  with pytest.raises(ValueError, match="holds something else"):
    demo._clear(tmp_path)
  assert (tmp_path / "mine").exists()


def test_a_program_that_fails_is_reported():
  command = [sys.executable, "-c", "import sys; sys.exit('no tokens')"]
  with pytest.raises(RuntimeError, match="status 1:\nno tokens"):
    training._run(command, {}, stop_after=None)


def test_a_program_is_told_to_stop_once(capsys):
  program = """
import signal, sys, time
def stop(*_):
  print("saved", file=sys.stderr)
  sys.exit()
signal.signal(signal.SIGTERM, stop)
for step in range(1, 1000):
  print(f"step {step}/1000 ", file=sys.stderr)
  time.sleep(0.01)
"""
  command = [sys.executable, "-c", program]
  stop_after = lambda line: line.startswith("step 3/")  # noqa: E731
  lines = training._run(command, {}, stop_after=stop_after)
  assert lines[:3] == ["step 1/1000", "step 2/1000", "step 3/1000"]
  assert lines[-1] == "saved"
  assert len(lines) < 1000
  assert "stopping it on purpose" in capsys.readouterr().err
