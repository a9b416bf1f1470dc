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
codec and generated; see evaluation/speech.py. Needs the extra 'eval'; --output
is a folder, for a page to listen to and the JSON.

semantic: how much semantic tokens tell of the phones that
soundstorm_jax.semantic.align found, and how little of the speaker; see
evaluation/phonetic.py.

The table goes to the standard output, everything to --output as JSON.
"""

import argparse
import json
import pathlib
import sys
from collections.abc import Sequence

from soundstorm_jax.config import listed, listed_names
from soundstorm_jax.evaluation import speech
from soundstorm_jax.evaluation.codec import judge_codec
from soundstorm_jax.evaluation.measures import table
from soundstorm_jax.evaluation.recordings import choose_audio
from soundstorm_jax.evaluation.semantic import judge_semantic
from soundstorm_jax.evaluation.tokens import judge_tokens

# Flags without which there is nothing to judge, by kind.
_NEEDED = {
  "codec": ["codec", "audio"],
  "tokens": ["weights", "tokens"],
  "speech": ["audio"],
  "semantic": ["semantic", "audio", "phones"],
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
  of_audio = parser.add_argument_group("codec, speech, semantic").add_argument
  of_audio("--codec", help="soundstream.safetensors")
  of_audio("--audio", help="folder of recordings")
  of_audio("--speakers", type=listed_names, default=(), help="A,B,C; or all")
  of_audio(
    "--levels",
    type=listed(int),
    help="numbers of levels to decode, as in 1,2,4",
  )
  of_audio("--max_utterances_per_speaker", type=int, help="or all of them")
  of_tokens = parser.add_argument_group("tokens, speech").add_argument
  of_tokens(
    "--weights", help="folder; of speech, the shipped ones if not given"
  )
  of_tokens("--tokens", help="token dataset")
  of_tokens("--split", default="test", help="held-out split")
  of_tokens("--train_split", default="train", help="for the code frequencies")
  of_tokens("--prompt_seconds", type=float, default=3.0)
  of_tokens(
    "--window_seconds", type=float, default=10.0, help="of an utterance"
  )
  of_tokens("--batch_size", type=int, default=8)
  of_tokens("--max_utterances", type=int, help="or all of them")
  of_tokens("--seed", type=int, default=0, help="of the random masks")
  of_semantic = parser.add_argument_group("semantic").add_argument
  of_semantic("--semantic", help="semantic.safetensors")
  of_semantic("--phones", help="CSV file of soundstorm_jax.semantic.align")
  speech.add_arguments(parser.add_argument_group("speech").add_argument)
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
    speech.run(args)
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
