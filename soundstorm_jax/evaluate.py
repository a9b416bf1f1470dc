"""Figures for a codec or a model, from speech it was not trained on.

  python -m soundstorm_jax.evaluate --what=codec --codec=codec.safetensors \\
    --audio=LibriSpeech/dev-clean --speakers=1272,2035,2412,422
  python -m soundstorm_jax.evaluate --what=tokens --weights=weights \\
    --tokens=tokens/librispeech-dev-clean --split=test
  python -m soundstorm_jax.evaluate --what=speech --output=report \\
    --audio=LibriSpeech/dev-clean --speakers=1272,2035,2412,422 \\
    --max_utterances_per_speaker=8
  python -m soundstorm_jax.evaluate --what=semantic --phones=phones.csv \\
    --semantic=semantic.safetensors --audio=LibriSpeech/dev-clean \\
    --speakers=1272,2035,2412,422

codec: STOI and wideband PESQ of recordings decoded from their first 1, 2, 4, 8
and 12 levels, means over recordings. Needs the extra 'eval'.

tokens: top-1 accuracy and cross-entropy (nats) of SoundStorm, teacher-forced,
level by level, beside those of each level's code frequencies. `masked`: all
frames after the prompt; `random`: the training mask, p = cos(u).

speech: what judges say of it (words, quality, voice) as recorded, through the
codec and generated; see evaluate_speech.py. Needs the extra 'eval'; --output is
a folder, for a page to listen to and the JSON.

semantic: how much semantic tokens tell of the phones that soundstorm_jax.align
found, and how little of the speaker; see evaluation/phonetic.py.

The table goes to the standard output, everything to --output as JSON.
"""

import argparse
import json
import math
import pathlib
import sys
from collections.abc import Sequence
from typing import Any

import tqdm

from soundstorm_jax import evaluate_speech
from soundstorm_jax.arguments import listed, listed_names
from soundstorm_jax.config import DataConfig, SoundStormConfig, from_mapping
from soundstorm_jax.data.audio_files import AudioFile, find_audio, read_audio
from soundstorm_jax.evaluate_semantic import judge_semantic
from soundstorm_jax.evaluation.codec_quality import (
  codec_quality,
  speech_metrics,
)
from soundstorm_jax.evaluation.measures import Measure, table
from soundstorm_jax.evaluation.token_accuracy import count_codes, token_accuracy
from soundstorm_jax.tokenizers.soundstream import SoundStreamTokenizer
from soundstorm_jax.weights import fingerprint, load_weights

_LEVELS = (1, 2, 4, 8, 12)
_NEEDED = {
  "codec": ["codec", "audio"],
  "tokens": ["weights", "tokens"],
  "speech": ["audio"],
  "semantic": ["semantic", "audio", "phones"],
}


def choose_audio(
  folder: str | pathlib.Path,
  *,
  speakers: Sequence[str] = (),
  per_speaker: int | None = None,
) -> list[AudioFile]:
  """The recordings to judge.

  Args:
    folder: see `find_audio`.
    speakers: all if empty.
    per_speaker: at most so many of each, evenly spaced in the order of names.

  Raises:
    ValueError: no audio, an unknown speaker, or per_speaker below 1.
  """
  if per_speaker is not None and per_speaker < 1:
    raise ValueError(
      f"max_utterances_per_speaker must be at least 1, got {per_speaker}"
    )
  by_speaker: dict[str, list[AudioFile]] = {}
  for file in find_audio(folder):
    by_speaker.setdefault(file.speaker, []).append(file)
  unknown = set(speakers) - set(by_speaker)
  if unknown:
    raise ValueError(f"speakers not in {folder}: {', '.join(sorted(unknown))}")
  chosen = []
  for speaker in speakers or by_speaker:
    files = by_speaker[speaker]
    count = min(per_speaker or len(files), len(files))
    chosen += [files[n * len(files) // count] for n in range(count)]
  return chosen


def judge_codec(
  codec_file: str | pathlib.Path,
  files: Sequence[AudioFile],
  *,
  levels: Sequence[int] | None = None,
) -> tuple[list[Measure], dict[str, Any]]:
  """Measures of a codec's reconstructions, and what was judged.

  Args:
    codec_file: soundstream.safetensors.
    files: recordings.
    levels: those of 1, 2, 4, 8 and 12 that the codec has if None.

  Raises:
    ImportError: see `speech_metrics`.
    ValueError: see `codec_quality`, or a file that cannot be read.
  """
  metrics = speech_metrics()
  codec = SoundStreamTokenizer.load(codec_file)
  if levels is None:
    levels = [count for count in _LEVELS if count <= codec.levels]
  bar = tqdm.tqdm(files, unit="recording")
  recordings = (read_audio(file.path, codec.sample_rate) for file in bar)
  measures = list(
    codec_quality(codec, recordings, levels=levels, metrics=metrics)
  )
  return measures, {"weights": {"soundstream": codec.fingerprint}}


def judge_tokens(
  weights: str | pathlib.Path,
  tokens: str | pathlib.Path,
  *,
  split: str = "test",
  train_split: str = "train",
  prompt_seconds: float = 3.0,
  window_seconds: float = 10.0,
  batch_size: int = 8,
  max_utterances: int | None = None,
  seed: int = 0,
) -> tuple[list[Measure], dict[str, Any]]:
  """Measures of a model's predictions, and what was judged.

  Args:
    weights: folder with soundstorm.safetensors. What else there is of the
      tokenizers must be what made the dataset.
    tokens: token dataset.
    split: held-out split.
    train_split: for the code frequencies.
    prompt_seconds: given before what is masked entirely.
    window_seconds: of each utterance, from its start; less if it is shorter.
    batch_size: utterances at a time.
    max_utterances: rounded up to whole batches; all if None.
    seed: of the random masks.

  Raises:
    FileNotFoundError: no weights.
    ValueError: weights of something else, a dataset of other sizes or made by
      other tokenizers, or what `token_accuracy` refuses.
  """
  # TensorFlow takes seconds to import, and judging a codec needs none of it.
  from soundstorm_jax.data.records import TokenRecords
  from soundstorm_jax.data.tokens import TokenSource

  if max_utterances is not None and max_utterances < 1:
    raise ValueError(f"max_utterances must be at least 1, got {max_utterances}")
  file = pathlib.Path(weights) / "soundstorm.safetensors"
  model = load_weights(file, kind="soundstorm")
  config = from_mapping(SoundStormConfig, model.config)
  train = TokenRecords(tokens, split=train_split)
  train.metadata.check_model(config)
  for kind, made_by in (
    ("soundstream", train.metadata.codec_fingerprint),
    ("semantic", train.metadata.semantic_fingerprint),
  ):
    other = file.with_name(f"{kind}.safetensors")
    if other.exists() and fingerprint(other) != made_by:
      raise ValueError(f"{tokens} was not made by {other} but by {made_by}")
  held_out = len(TokenRecords(tokens, split=split))
  count = min(max_utterances or held_out, held_out)
  source = TokenSource(
    DataConfig(
      path=str(tokens),
      split=train_split,
      eval_split=split,
      window_seconds=window_seconds,
      eval_batches=math.ceil(count / batch_size),
    ),
    batch_size=batch_size,
    seed=seed,
  )
  counts = count_codes(
    (train[number].acoustic for number in range(len(train))),
    levels=config.levels,
    codes=config.codes,
  )
  bar = tqdm.tqdm(
    source.eval_batches(), total=math.ceil(count / batch_size), unit="batch"
  )
  measures = list(
    token_accuracy(
      config,
      params=model.params,
      batches=(batch for batch in bar),
      train_counts=counts,
      prompt_frames=round(prompt_seconds * train.metadata.frame_rate),
      seed=seed,
    )
  )
  return measures, {
    "weights": {
      "soundstorm": fingerprint(file),
      "soundstream": train.metadata.codec_fingerprint,
      "semantic": train.metadata.semantic_fingerprint,
    }
  }


def _parser() -> argparse.ArgumentParser:
  summary, _, details = (__doc__ or "").partition("\n")
  parser = argparse.ArgumentParser(
    prog="python -m soundstorm_jax.evaluate",
    description=summary,
    epilog=details,
    formatter_class=argparse.RawDescriptionHelpFormatter,
  )
  add = parser.add_argument
  add("--what", required=True, choices=list(_NEEDED))
  add("--output", help="JSON file to write; of speech, a folder")
  codec = parser.add_argument_group("codec, speech, semantic").add_argument
  codec("--codec", help="soundstream.safetensors")
  codec("--audio", help="folder of recordings")
  codec("--speakers", type=listed_names, default=(), help="A,B,C; or all")
  codec(
    "--levels",
    type=listed(int),
    help="numbers of levels to decode, as in 1,2,4",
  )
  codec("--max_utterances_per_speaker", type=int, help="or all of them")
  tokens = parser.add_argument_group("tokens, speech").add_argument
  tokens("--weights", help="folder; of speech, the shipped ones if not given")
  tokens("--tokens", help="token dataset")
  tokens("--split", default="test", help="held-out split")
  tokens("--train_split", default="train", help="for the code frequencies")
  tokens("--prompt_seconds", type=float, default=3.0)
  tokens("--window_seconds", type=float, default=10.0, help="of an utterance")
  tokens("--batch_size", type=int, default=8)
  tokens("--max_utterances", type=int, help="or all of them")
  tokens("--seed", type=int, default=0, help="of the random masks")
  semantic = parser.add_argument_group("semantic").add_argument
  semantic("--semantic", help="semantic.safetensors")
  semantic("--phones", help="CSV file of soundstorm_jax.align")
  speech = parser.add_argument_group("speech").add_argument
  evaluate_speech.add_arguments(speech)
  return parser


def main(argv: Sequence[str] | None = None) -> int:
  """The program; returns its exit status."""
  parser = _parser()
  args = parser.parse_args(argv)
  needed = _NEEDED[args.what]
  missing = [f"--{name}" for name in needed if not getattr(args, name)]
  if missing:
    parser.error(f"--what={args.what} needs {' and '.join(missing)}")
  if args.what == "speech":
    evaluate_speech.run(args)
    return 0
  if args.what in ("codec", "semantic"):
    files = choose_audio(
      args.audio,
      speakers=args.speakers,
      per_speaker=args.max_utterances_per_speaker,
    )
  if args.what == "codec":
    measures, judged = judge_codec(
      args.codec, files, levels=args.levels or None
    )
  elif args.what == "semantic":
    measures, judged = judge_semantic(
      args.semantic, files, phones_file=args.phones
    )
  else:
    measures, judged = judge_tokens(
      args.weights,
      args.tokens,
      split=args.split,
      train_split=args.train_split,
      prompt_seconds=args.prompt_seconds,
      window_seconds=args.window_seconds,
      batch_size=args.batch_size,
      max_utterances=args.max_utterances,
      seed=args.seed,
    )
  print(table(measures))
  if args.output:
    result = judged | {"settings": vars(args), "measures": dict(measures)}
    path = pathlib.Path(args.output)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=2) + "\n", "utf-8")
  return 0


if __name__ == "__main__":
  sys.exit(main())
