"""Turns a folder of audio into a dataset of tokens.

  python -m soundstorm_jax.tokenize --audio=LibriSpeech/dev-clean \\
    --output=data/dev-clean --codec=soundstream.safetensors \\
    --semantic=semantic.safetensors --held_out_speakers=1272,2035,2412,422

Speakers and transcripts come from LibriSpeech's layout, or from a manifest
(--manifest=FILE.csv with the columns path, speaker, text and maybe split).
Run it again after an interruption and it goes on where it was. A file that
cannot be read is reported and left out; more than --max_unreadable of them make
the exit status 1. --speeds adds copies that speak faster or slower, in other
voices; --join_seconds joins what was cut from one recording, so that long
windows can be drawn. Read the result with `tfds.load("soundstorm_tokens",
data_dir=OUTPUT)` after importing soundstorm_jax.data.token_dataset.

Axes: S semantic tokens, T frames, Q levels.
"""

import argparse
import collections
import dataclasses
import pathlib
import shutil
import sys
from collections.abc import Sequence
from fractions import Fraction
from typing import Any, NamedTuple

from soundstorm_jax.config import at_least, listed, listed_names
from soundstorm_jax.data import token_dataset, token_parts
from soundstorm_jax.data.records import read_metadata
from soundstorm_jax.data.token_example import TokenMetadata
from soundstorm_jax.data.tokenizer import AcousticTokenizer, Tokenizer
from soundstorm_jax.data.utterances import SPLITS, at_speeds, find_utterances


@dataclasses.dataclass(frozen=True)
class TokenizeConfig:
  """What to tokenise, and where to.

  Attributes:
    audio: folder of recordings.
    output: folder that the dataset is made in.
    manifest: CSV file; see data/utterances.py.
    held_out_speakers: make up the split "test".
    speeds: at which training utterances are tokenised, once at each.
    join_seconds: training utterances that follow one another in a folder become
      one example of up to so many seconds; 0 leaves them apart.
    batch_size: utterances encoded at a time.
    workers: parallel reads.
  """

  audio: str
  output: str
  manifest: str = ""
  held_out_speakers: tuple[str, ...] = ()
  speeds: tuple[float, ...] = (1.0,)
  join_seconds: float = 0.0
  batch_size: int = 16
  workers: int = 4

  def __post_init__(self):
    at_least("join_seconds", self.join_seconds, 0)
    at_least("batch_size", self.batch_size, 1)
    at_least("workers", self.workers, 1)


class Result(NamedTuple):
  """A finished dataset.

  Attributes:
    folder: its files.
    written: utterances in it.
    unreadable: utterances left out, and why, by id.
  """

  folder: pathlib.Path
  written: int
  unreadable: dict[str, str]


def tokenize(
  config: TokenizeConfig, *, codec: AcousticTokenizer, semantic: Tokenizer
) -> Result:
  """Makes the dataset, or what is still missing of it.

  Args:
    config: recordings and output.
    codec: gives the acoustic tokens.
    semantic: gives the semantic tokens.

  Raises:
    ValueError: no recordings, none of them readable, or the output holds a
      dataset of other recordings, settings or weights.
  """
  utterances = find_utterances(
    config.audio,
    manifest=config.manifest,
    held_out_speakers=config.held_out_speakers,
  )
  utterances = at_speeds(utterances, config.speeds)
  digest = token_parts.make_digest(
    utterances,
    codec=codec,
    semantic=semantic,
    batch_size=config.batch_size,
    join_seconds=config.join_seconds,
  )
  output = pathlib.Path(config.output)
  finished = _finished(output, digest, len(utterances))
  if finished is not None:
    return finished

  parts_folder = token_parts.claim(output, digest)
  parts = token_parts.plan(
    utterances, rate=codec.sample_rate, workers=config.workers
  )
  token_parts.make_parts(
    parts,
    parts_folder,
    codec=codec,
    semantic=semantic,
    batch_size=config.batch_size,
    workers=config.workers,
  )
  unreadable = token_parts.read_unreadable(parts_folder, count=len(parts))
  written = collections.Counter(
    utterance.split
    for utterance in utterances
    if utterance.id not in unreadable
  )
  if not written:
    raise ValueError(f"none of {len(utterances)} recordings can be read")

  folder = token_dataset.write_dataset(
    output,
    metadata=TokenMetadata(
      sample_rate=codec.sample_rate,
      frame_rate=Fraction(codec.tokens_per_second),
      semantic_rate=Fraction(semantic.tokens_per_second),
      levels=codec.levels,
      codes=codec.vocabulary,
      semantic_vocab=semantic.vocabulary,
      codec_fingerprint=codec.fingerprint,
      semantic_fingerprint=semantic.fingerprint,
      # Not the paths, which mean nothing on another machine.
      config={
        "held_out_speakers": list(config.held_out_speakers),
        "speeds": list(config.speeds),
        "join_seconds": config.join_seconds,
        "batch_size": config.batch_size,
        "digest": digest,
        "unreadable": unreadable,
      },
    ),
    examples={
      split: lambda split=split: token_parts.examples(
        parts,
        parts_folder,
        split=split,
        frame_rate=Fraction(codec.tokens_per_second),
        join_seconds=config.join_seconds,
      )
      for split in SPLITS
      if written[split]
    },
  )
  shutil.rmtree(parts_folder)
  return Result(folder, sum(written.values()), unreadable)


def _finished(output: pathlib.Path, digest: str, count: int) -> Result | None:
  """What an earlier run has made of the same, if it got to its end."""
  try:
    folder = token_dataset.dataset_folder(output)
  except ValueError:
    return None
  made_with = read_metadata(folder).config
  if made_with.get("digest") != digest:
    raise ValueError(
      f"{output} holds the tokens of other recordings, settings or weights; "
      "choose another output"
    )
  unreadable = made_with["unreadable"]
  return Result(pathlib.Path(folder), count - len(unreadable), unreadable)


def _parser() -> argparse.ArgumentParser:
  summary, _, details = (__doc__ or "").partition("\n")
  parser = argparse.ArgumentParser(
    prog="python -m soundstorm_jax.tokenize",
    description=summary,
    epilog=details,
    formatter_class=argparse.RawDescriptionHelpFormatter,
  )
  parser.add_argument("--audio", required=True, help="folder of recordings")
  parser.add_argument("--output", required=True, help="folder of the dataset")
  parser.add_argument("--codec", required=True, help="soundstream.safetensors")
  parser.add_argument("--semantic", required=True, help="semantic.safetensors")
  parser.add_argument("--manifest", default="", help="CSV instead of a layout")
  parser.add_argument(
    "--held_out_speakers",
    type=listed_names,
    default=(),
    help="comma-separated, for split test",
  )
  parser.add_argument(
    "--speeds",
    type=listed(float),
    default=(1.0,),
    help="comma-separated, of training utterances",
  )
  parser.add_argument(
    "--join_seconds", type=float, default=0.0, help="longest joined example"
  )
  parser.add_argument("--batch_size", type=int, default=16)
  parser.add_argument("--workers", type=int, default=4, help="parallel reads")
  parser.add_argument(
    "--max_unreadable", type=int, default=0, help="more make the exit status 1"
  )
  return parser


def main(argv: Sequence[str] | None = None) -> int:
  """The program; returns its exit status."""
  from soundstorm_jax.semantic.learned import load_semantic
  from soundstorm_jax.soundstream.tokenizer import SoundStreamTokenizer

  args: dict[str, Any] = vars(_parser().parse_args(argv))
  codec = SoundStreamTokenizer.load(args.pop("codec"))
  semantic = load_semantic(args.pop("semantic"))
  limit = args.pop("max_unreadable")
  result = tokenize(TokenizeConfig(**args), codec=codec, semantic=semantic)
  print(f"{result.written} utterances in {result.folder}")
  if result.unreadable:
    print(f"{len(result.unreadable)} unreadable, {limit} allowed")
  return int(len(result.unreadable) > limit)


if __name__ == "__main__":
  sys.exit(main())
