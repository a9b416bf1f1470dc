"""One HTML file with everything in it: sound, spectrograms, curves, tables.

Pictures and sound are embedded, so the page needs neither network nor folder.

Axes: N samples, F spectral frames, M mels.
"""

import base64
import collections
import csv
import io
import json
import os
import pathlib
import platform
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import matplotlib
import numpy as np
import soundfile
from jaxtyping import Float
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from soundstorm_jax.data.audio_files import read_audio
from soundstorm_jax.demo.training import Run
from soundstorm_jax.evaluation import pages, summary
from soundstorm_jax.layers import features
from soundstorm_jax.speech.loading import SHIPPED
from soundstorm_jax.speech.model import SpeechModel
from soundstorm_jax.speech.results import RESULTS

NO_PROMPT, OWN_VOICE, OTHER_VOICE = "no_prompt", "own_voice", "other_voice"
_TITLES = {
  NO_PROMPT: "Generated, no prompt",
  OWN_VOICE: "Generated, own voice",
  OTHER_VOICE: "Generated, another voice",
}
_NOTES = {
  NO_PROMPT: "the voice is left to chance",
  OWN_VOICE: "after {seconds:g} s of another sentence in this voice",
  OTHER_VOICE: "after {seconds:g} s of {voice}",
}
# Readable on a light page and on a dark one.
_GREY, _BLUE, _ORANGE = "#7a7a7a", "#3b82c4", "#d9822b"
_WINDOW, _MELS = 1024, 80
# Of the picture, below a full-scale sine.
_RANGE_DB = 80


class _Clip(NamedTuple):
  """One player with its picture."""

  title: str
  note: str
  audio: str
  image: str
  alt: str
  prompt: str = ""


class _Sentence(NamedTuple):
  """Everything that was made of a sentence."""

  text: str
  speaker: str
  clips: list[_Clip]


def write(
  path: str | pathlib.Path,
  *,
  model: SpeechModel,
  speech: str | pathlib.Path,
  generated: str | pathlib.Path,
  codec_only: Mapping[str, Float[np.ndarray, "_"]],
  run: Run,
  seconds: Mapping[str, float],
  prompt_seconds: float,
  is_shipped: bool,
) -> None:
  """Writes the page.

  Args:
    path: the file.
    model: that generated.
    speech: folder with manifest.csv and the originals.
    generated: folder that `generate` wrote; ids are KIND/CONTENT.
    codec_only: what the codec alone makes of the originals, by content.
    run: the training run.
    seconds: of each stage.
    prompt_seconds: of each prompt.
    is_shipped: whether the weights are those that come with the package.
  """
  speech, generated = pathlib.Path(speech), pathlib.Path(generated)
  with (speech / "manifest.csv").open(newline="", encoding="utf-8") as file:
    texts = {
      row["path"].rpartition(".")[0]: row for row in csv.DictReader(file)
    }
  lines = [
    json.loads(line)
    for line in (generated / RESULTS).read_text("utf-8").splitlines()
  ]
  by_content = collections.defaultdict(dict)
  for line in lines:
    by_content[line["content"]][line["id"].partition("/")[0]] = line
  # Requests of one batch have the same times, to the last digit.
  batches = list({json.dumps(line["batch"]): line for line in lines}.values())

  def original(name: str) -> np.ndarray:
    return read_audio(speech / f"{name}.ogg", model.sample_rate)

  def clip(title: str, note: str, audio: np.ndarray, name: str, **more: str):
    return _Clip(
      title,
      note,
      audio=audio_uri(audio, model.sample_rate),
      image=spectrogram_uri(audio, model.sample_rate),
      alt=f"Mel spectrogram: {title.lower()}, {name}",
      **more,
    )

  def generated_clip(kind: str, line: Mapping[str, Any]) -> _Clip:
    audio, _ = soundfile.read(generated / line["wav"], dtype="float32")
    voice = speaker_name(line["prompt"].partition("/")[0])
    note = _NOTES[kind].format(seconds=prompt_seconds, voice=voice)
    prompt = ""
    if line["prompt"]:
      start = original(line["prompt"])
      start = start[: round(prompt_seconds * model.sample_rate)]
      prompt = audio_uri(start, model.sample_rate)
    return clip(_TITLES[kind], note, audio, line["content"], prompt=prompt)

  sentences = []
  for content, made in sorted(by_content.items()):
    levels = f"{model.config.levels} levels, {_bitrate(model) / 1000:g} kbit/s"
    clips = [
      clip("Original", "what the tokens come from", original(content), content),
      clip("Codec alone", levels, codec_only[content], content),
    ]
    clips += [generated_clip(kind, made[kind]) for kind in _TITLES]
    row = texts[content]
    speaker = speaker_name(row["speaker"])
    sentences.append(_Sentence(row["text"], speaker, clips))

  report = summary.load_report(SHIPPED / pages.JSON, model.fingerprints)
  text = pages.template("page.html.j2", pathlib.Path(__file__).parent).render(
    table=summary.tabulate(report) if report else None,
    sentences=sentences,
    batches=batches,
    run=run,
    loss_image=loss_uri(run),
    uniform_loss=np.log(model.config.codes),
    seconds=seconds,
    total=sum(seconds.values()),
    facts=_facts(model),
    prompt_seconds=prompt_seconds,
    is_shipped=is_shipped,
    range_db=_RANGE_DB,
  )
  pathlib.Path(path).write_text(text, "utf-8")


def speaker_name(speaker: str) -> str:
  """af_heart is "Heart (American, female)"; see speech/LICENSE.md."""
  kind, _, name = speaker.partition("_")
  if not name or len(kind) != 2:
    return speaker
  accent = {"a": "American", "b": "British"}.get(kind[0])
  voice = {"f": "female", "m": "male"}.get(kind[1])
  if not accent or not voice:
    return speaker
  return f"{name.title()} ({accent}, {voice})"


def audio_uri(audio: Float[np.ndarray, "N"], sample_rate: int) -> str:
  """A data URI of 16-bit FLAC: nothing lost, about half a WAV's size."""
  file = io.BytesIO()
  soundfile.write(
    file, audio.clip(-1, 1), sample_rate, format="FLAC", subtype="PCM_16"
  )
  return _uri("audio/flac", file.getvalue())


def spectrogram_uri(audio: Float[np.ndarray, "N"], sample_rate: int) -> str:
  """A data URI of a mel spectrogram, with seconds and kilohertz."""
  decibels = mel_decibels(audio, sample_rate)
  figure = Figure(figsize=(3.4, 1.9), dpi=140, layout="constrained")
  axes = figure.add_subplot()
  axes.imshow(
    decibels.T,
    origin="lower",
    aspect="auto",
    cmap="magma",
    vmin=-_RANGE_DB,
    vmax=0,
    extent=(0, len(audio) / sample_rate, 0, _MELS),
  )
  kilohertz = [0.5, 1, 2, 4, 8]
  places = [
    _MELS * _mel(k * 1000) / _mel(sample_rate / 2)
    for k in kilohertz
    if 2000 * k <= sample_rate
  ]
  axes.set_yticks(places, [f"{k:g}" for k in kilohertz[: len(places)]])
  axes.set_xlabel("seconds")
  axes.set_ylabel("kHz")
  _make_neutral(axes)
  file = io.BytesIO()
  figure.set_facecolor("none")
  FigureCanvasAgg(figure).print_png(file)
  return _uri("image/png", file.getvalue())


def mel_decibels(
  audio: Float[np.ndarray, "N"], sample_rate: int
) -> Float[np.ndarray, "F M"]:
  """A mel spectrogram in decibels below a full-scale sine."""
  padded = np.pad(audio, _WINDOW // 2)
  # Whole seconds, so that few lengths are compiled.
  missing = -len(padded) % sample_rate
  hop = _WINDOW // 4
  mel = features.mel_spectrogram(
    jnp.asarray(np.pad(padded, (0, missing))[None]),
    sample_rate=sample_rate,
    window=_WINDOW,
    hop=hop,
    mels=_MELS,
  )
  frames = max(1, len(audio) // hop)
  return 20 * np.log10(np.maximum(np.asarray(mel)[0, :frames], 1e-6))


def loss_uri(run: Run) -> str:
  """A data URI of the loss curve, with the step where the run was resumed."""
  figure = Figure(figsize=(7, 3), layout="constrained")
  axes = figure.add_subplot()
  for name, points, colour, marker in (
    ("training", run.train, _BLUE, "o"),
    ("held-out speakers", run.held_out, _ORANGE, "s"),
  ):
    axes.plot(*zip(*points, strict=True), color=colour, marker=marker)
    axes.annotate(
      name, points[-1], (6, 0), textcoords="offset points", color=colour
    )
  axes.axvline(run.resumed_after, color=_GREY, linestyle="--")
  axes.annotate(
    " stopped, resumed",
    (run.resumed_after, 1),
    xycoords=("data", "axes fraction"),
    va="top",
    color=_GREY,
  )
  axes.margins(x=0.12)
  axes.set_xlabel("step")
  axes.set_ylabel("loss (nats)")
  axes.spines[["top", "right"]].set_visible(False)
  _make_neutral(axes)
  figure.set_facecolor("none")
  file = io.BytesIO()
  with matplotlib.rc_context({"svg.fonttype": "none"}):
    FigureCanvasSVG(figure).print_svg(file)
  return _uri("image/svg+xml", file.getvalue())


def _make_neutral(axes: Any) -> None:
  axes.set_facecolor("none")
  axes.tick_params(colors=_GREY, labelsize=8)
  for label in (axes.xaxis.label, axes.yaxis.label):
    label.set(color=_GREY, fontsize=8)
  for spine in axes.spines.values():
    spine.set_color(_GREY)


def _mel(hertz: float) -> float:
  return 2595 * np.log10(1 + hertz / 700)


def _uri(kind: str, data: bytes) -> str:
  return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def _bitrate(model: SpeechModel) -> float:
  bits = model.config.levels * np.log2(model.config.codes)
  return float(bits * model.limits.frame_rate)


def _facts(model: SpeechModel) -> dict[str, str]:
  """What the run was made with."""
  facts = model.facts()
  return {
    "Model": facts["Model"],
    "Codec": (
      f"SoundStream, {model.sample_rate / 1000:g} kHz, "
      f"{model.limits.frame_rate} frames/s, {model.config.levels} levels of "
      f"{model.config.codes} codes"
    ),
    "Semantic tokens": (
      f"{model.config.semantic_vocab} clusters, "
      f"{model.limits.semantic_rate} a second"
    ),
    "Sampling": facts["Sampling"],
    "Weights": ", ".join(f"{k} {v}" for k, v in model.fingerprints.items()),
    "Machine": (
      f"{jax.devices()[0].device_kind}, {os.cpu_count()} cores, "
      f"{platform.machine()}, Python {platform.python_version()}, "
      f"jax {jax.__version__}"
    ),
  }
