"""What judges say of generated speech, as in the paper's table 1.

The content of each utterance is its own semantic tokens, as in the paper
(SoundStorm, arXiv 2305.09636, section 4). Rows:

  recording              as it is
  codec reconstruction   its acoustic tokens, decoded: the best there can be
  no prompt              all of it generated
  prompt                 its first 3 s are given and heard, the rest generated
  voice conversion       all of it generated, after the first 3 s of another
                         speaker's utterance, which are not heard

With the weights of AudioLM's acoustic stages, the third and the fourth row are
there of these too, of the same tokens and noise. With --compare_iterations
there is, in place of all but the first two, the fourth row for each number of
iterations at the first level (the paper's section 4.4), and a plot.

The prompt of the fourth row is the codec's work and not the model's. So all
that is judged by ear is judged after the first 3 s, in every row; word and
character errors are of the whole utterance, with a second figure for what
follows the first 3 s. The voice wanted is the start of the recording; in the
last row, that of the other speaker's.

Axes: N samples, T frames, Q levels.
"""

import argparse
import collections
import os
import pathlib
import platform
import time
import zlib
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import jax
import numpy as np
import soxr
import tqdm
from jaxtyping import Float

from soundstorm_jax.config import listed, listed_names, to_mapping
from soundstorm_jax.data.audio_files import audio_length, read_audio
from soundstorm_jax.data.utterances import Utterance, find_utterances
from soundstorm_jax.evaluation import judges as panel
from soundstorm_jax.evaluation import pages, summary
from soundstorm_jax.evaluation.judges import RATE, Judge, Judgement, Sample
from soundstorm_jax.evaluation.plot import plot_rows
from soundstorm_jax.evaluation.rows import (
  Content,
  buckets,
  iterations_row,
  speak,
  titles,
)
from soundstorm_jax.soundstream.tokenizer import SoundStreamTokenizer
from soundstorm_jax.speech import sampling_flags
from soundstorm_jax.speech.loading import SHIPPED, load, load_audiolm
from soundstorm_jax.speech.model import SpeechModel


def draw(
  utterances: Sequence[Utterance],
  *,
  per_speaker: int | None = None,
  seed: int = 0,
) -> list[Content]:
  """Chooses utterances, of all lengths as evenly as there are.

  Which of a speaker's depends on no other speaker. Utterances without a
  transcript, or outside all length classes, are never drawn.

  Args:
    utterances: of at least two speakers.
    per_speaker: at most so many of each; all if None.
    seed: of the draw.

  Raises:
    ValueError: fewer than two speakers have utterances, or per_speaker is below
      1.
  """
  if per_speaker is not None and per_speaker < 1:
    raise ValueError(
      f"max_utterances_per_speaker must be at least 1, got {per_speaker}"
    )
  by_speaker: dict[str, dict[str, list]] = {}
  for utterance in utterances:
    seconds = audio_length(utterance.path, RATE) / RATE
    length = summary.length_class(seconds)
    if length and utterance.text:
      classes = by_speaker.setdefault(utterance.speaker, {})
      classes.setdefault(length, []).append((utterance, seconds))
  if len(by_speaker) < 2:
    raise ValueError(
      "voice conversion needs transcribed utterances of 4 to 30 s by at least "
      f"2 speakers, got {len(by_speaker)}"
    )
  chosen: dict[str, list[tuple[Utterance, float, str]]] = {}
  for speaker, classes in sorted(by_speaker.items()):
    rng = np.random.default_rng([seed, zlib.crc32(speaker.encode())])
    queues = collections.deque(
      [(*classes[name][n], name) for n in rng.permutation(len(classes[name]))]
      for name in summary.CLASSES
      if name in classes
    )
    drawn = chosen.setdefault(speaker, [])
    while queues and len(drawn) != per_speaker:
      queue = queues.popleft()
      drawn.append(queue.pop())
      if queue:
        queues.append(queue)
  rng = np.random.default_rng(seed)
  contents = []
  for speaker, of_speaker in chosen.items():
    others = [name for name in chosen if name != speaker]
    for utterance, seconds, name in of_speaker:
      voices = chosen[others[rng.integers(len(others))]]
      other, *_ = voices[rng.integers(len(voices))]
      contents.append(Content(utterance, seconds, name, other))
  return sorted(contents, key=lambda content: content.utterance.id)


def judge(
  contents: Sequence[Content],
  rows: dict[str, list[Float[np.ndarray, "_"]]],
  judges: Sequence[Judge],
  *,
  sample_rate: int,
  prompt_seconds: float,
) -> list[summary.Entry]:
  """What all judges say of all rows.

  Args:
    contents: what was said.
    rows: audio of each, in the same order.
    judges: who says it.
    sample_rate: of the audio.
    prompt_seconds: of each prompt, which are judged by their words alone.
  """
  skip = round(prompt_seconds * RATE)

  def hear(audio: np.ndarray) -> np.ndarray:
    if sample_rate != RATE:
      audio = soxr.resample(audio, sample_rate, RATE)
    return audio

  def start(utterance: Utterance) -> np.ndarray:
    return read_audio(utterance.path, RATE, length=skip)

  entries = []
  bar = tqdm.tqdm(total=len(contents) * len(rows), unit="sample")
  for number, content in enumerate(contents):
    recording = read_audio(content.utterance.path, RATE)
    for row, audio in rows.items():
      wanted, unwanted = content.utterance, content.other
      if row == summary.CONVERSION:
        wanted, unwanted = unwanted, wanted
      sample = Sample(
        utterance=content.utterance.id,
        audio=hear(audio[number]),
        text=content.utterance.text,
        recording=recording,
        voice=start(wanted),
        stranger=start(unwanted),
        skip=skip,
      )
      said = [one(sample) for one in judges]
      entries.append(
        summary.Entry(
          row=row,
          utterance=content.utterance.id,
          speaker=content.utterance.speaker,
          length=content.length,
          seconds=content.seconds,
          voice=wanted.id,
          stranger=unwanted.id,
          text=content.utterance.text,
          audio=pages.audio_name(row, content.utterance.id),
          judgement=Judgement(
            {k: v for one in said for k, v in one.scores.items()},
            " ".join(one.heard for one in said if one.heard),
          ),
        )
      )
      bar.update()
  bar.close()
  return entries


def add_arguments(add: Any) -> None:
  """Adds the arguments that no other evaluation has."""
  add("--manifest", default="", help="CSV: path, speaker, text; see tokenize")
  add(
    "--judges",
    type=listed_names,
    default=panel.NAMES,
    help=f"those to ask; default: {','.join(panel.NAMES)}",
  )
  sampling_flags.add_arguments(add)
  add("--compilation_cache", help="folder that keeps compiled code")
  add(
    "--audiolm",
    action="store_true",
    help="also the baseline, of audiolm_*.safetensors beside the other weights",
  )
  add(
    "--compare_iterations",
    type=listed(int),
    default=(),
    help="as in 1,4,16: compare so many at the first level",
  )


def run(args: argparse.Namespace) -> None:
  """The evaluation from the program's arguments; prints the table.

  Raises:
    ImportError: a judge's packages are not installed.
    ValueError: an argument that cannot be, or no utterances to draw from.
  """
  if not args.prompt_seconds > 0:
    raise ValueError(
      f"prompt_seconds must be above 0, got {args.prompt_seconds}"
    )
  iterations = args.compare_iterations
  check_iterations(iterations)
  if iterations and args.audiolm:
    raise ValueError(
      "compare_iterations is about SoundStorm's: leave audiolm out"
    )
  # Before hours of work, since they may not be installed.
  judges = panel.make(args.judges)
  speakers = args.speakers
  utterances = find_utterances(
    args.audio, manifest=args.manifest, held_out_speakers=speakers
  )
  if speakers:
    utterances = [u for u in utterances if u.speaker in speakers]
  contents = draw(
    utterances, per_speaker=args.max_utterances_per_speaker, seed=args.seed
  )
  folder = pathlib.Path(args.weights or SHIPPED)
  codec = SoundStreamTokenizer.load(folder / "soundstream.safetensors")
  settings = {
    "batch_size": args.batch_size,
    "buckets": buckets(Fraction(codec.tokens_per_second), args.prompt_seconds),
    "compilation_cache": args.compilation_cache,
  }
  model = load(args.weights or None, int8=args.int8, **settings)
  model.sampler = sampling_flags.with_arguments(model.sampler, args)
  audiolm = load_audiolm(folder, **settings) if args.audiolm else None
  rows, times = speak(
    contents,
    model,
    prompt_seconds=args.prompt_seconds,
    audiolm=audiolm,
    iterations=iterations,
    seed=args.seed,
  )
  began = time.perf_counter()
  entries = judge(
    contents,
    rows,
    judges,
    sample_rate=model.sample_rate,
    prompt_seconds=args.prompt_seconds,
  )
  times["judges_s"] = time.perf_counter() - began
  report = {
    "weights": model.fingerprints,
    "baseline": audiolm.fingerprints if audiolm else {},
    "settings": vars(args) | {"sampler": to_mapping(model.sampler)},
    "times": times,
  } | summary.summarise(
    entries, judges, titles=titles(iterations), seed=args.seed
  )
  print(summary.text(report))
  if args.output:
    pages.write_report(
      args.output,
      report,
      rows,
      sample_rate=model.sample_rate,
      facts=_facts(model, audiolm, times),
    )
    if iterations:
      plot_rows(
        report,
        {count: iterations_row(count) for count in iterations},
        label="iterations at level 1",
        output=pathlib.Path(args.output) / "iterations.png",
      )


def check_iterations(counts: Sequence[int]) -> None:
  """Refuses numbers of iterations that cannot be compared.

  Raises:
    ValueError: one is below 1, or there twice.
  """
  if any(count < 1 for count in counts):
    raise ValueError(
      f"compare_iterations must be at least 1, got {tuple(counts)}"
    )
  if len(set(counts)) < len(counts):
    raise ValueError(f"compare_iterations must differ, got {tuple(counts)}")


def _facts(
  model: SpeechModel,
  audiolm: SpeechModel | None,
  times: dict[str, float],
) -> dict[str, str]:
  """What the page says at its end."""
  facts = model.facts()
  found = {
    "Model": facts["Model"],
    "Weights": ", ".join(f"{k} {v}" for k, v in model.fingerprints.items()),
    "Sampling": facts["Sampling"],
    "Generation": (
      f"{times['audio_s']:.0f} s of speech in {times['run_s']:.0f} s, compiled "
      f"in {times['compile_s']:.0f} s; judged in {times['judges_s']:.0f} s"
    ),
  }
  if audiolm is not None:
    facts = audiolm.facts()
    found["Baseline"] = f"{facts['Model']}; {facts['Sampling']}"
    found["Its generation"] = (
      f"{times['audiolm_audio_s']:.0f} s of speech in "
      f"{times['audiolm_run_s']:.0f} s"
    )
  return found | {
    "Machine": (
      f"{jax.devices()[0].device_kind}, {os.cpu_count()} cores, "
      f"{platform.machine()}, Python {platform.python_version()}, "
      f"jax {jax.__version__}"
    ),
  }
