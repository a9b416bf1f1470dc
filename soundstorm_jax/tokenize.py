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
import dataclasses
import hashlib
import json
import pathlib
import shutil
import sys
from collections.abc import Iterator, Sequence
from concurrent import futures
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np
import safetensors
import safetensors.numpy
import soxr
import tqdm

from soundstorm_jax.arguments import listed, listed_names
from soundstorm_jax.data import audio_files, token_dataset
from soundstorm_jax.data.records import read_metadata
from soundstorm_jax.data.token_example import TokenExample, TokenMetadata
from soundstorm_jax.data.utterances import (
  SPLITS,
  Utterance,
  at_speeds,
  find_utterances,
  join,
)
from soundstorm_jax.tokenizers.base import AcousticTokenizer, Tokenizer
from soundstorm_jax.tokenizers.batching import encode_utterances, length_bucket

# Utterances whose tokens are saved together: what an interruption can cost.
_PART = 128
# Samples at each of the rates that the tokenizers take, or what went wrong.
_Audio = dict[int, np.ndarray] | str


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
    if not self.join_seconds >= 0:
      raise ValueError(
        f"join_seconds must be at least 0, got {self.join_seconds}"
      )
    for name in ("batch_size", "workers"):
      if getattr(self, name) < 1:
        raise ValueError(
          f"{name} must be at least 1, got {getattr(self, name)}"
        )


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
  digest = _digest(config, utterances, codec, semantic)
  output = pathlib.Path(config.output)
  finished = _finished(output, digest, len(utterances))
  if finished is not None:
    return finished
  parts_folder = _claim(output, digest)
  parts = _plan(utterances, codec.sample_rate, config.workers)
  _make_parts(parts, parts_folder, config, codec, semantic)

  unreadable: dict[str, str] = {}
  written = dict.fromkeys(SPLITS, 0)
  for number, part in enumerate(parts):
    with safetensors.safe_open(_file(parts_folder, number), "numpy") as file:
      failed = json.loads(file.metadata()["unreadable"])
    unreadable |= failed
    for utterance in part:
      written[utterance.split] += utterance.id not in failed
  if not any(written.values()):
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
      split: lambda split=split: _examples(
        parts,
        parts_folder,
        split,
        frame_rate=Fraction(codec.tokens_per_second),
        longest=config.join_seconds,
      )
      for split in SPLITS
      if written[split]
    },
  )
  shutil.rmtree(parts_folder)
  return Result(folder, sum(written.values()), unreadable)


def _digest(
  config: TokenizeConfig,
  utterances: Sequence[Utterance],
  codec: Tokenizer,
  semantic: Tokenizer,
) -> str:
  """Tells one dataset from another: recordings, weights, shapes."""
  text = json.dumps(
    [
      [(u.id, u.speaker, u.text, u.split) for u in utterances],
      [codec.fingerprint, semantic.fingerprint],
      [config.batch_size, _PART, config.join_seconds],
    ]
  )
  return hashlib.sha256(text.encode()).hexdigest()[:16]


def _finished(output: pathlib.Path, digest: str, count: int) -> Result | None:
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


def _claim(output: pathlib.Path, digest: str) -> pathlib.Path:
  """The folder of the parts, once it is certain that they are this job's."""
  folder = output / "parts"
  note = folder / "digest.txt"
  if note.exists():
    if note.read_text() != digest:
      raise ValueError(
        f"{folder} holds parts of other recordings, settings or weights; "
        "remove it or choose another output"
      )
    return folder
  folder.mkdir(parents=True, exist_ok=True)
  note.write_text(digest)
  return folder


def _plan(
  utterances: Sequence[Utterance], rate: int, workers: int
) -> list[list[Utterance]]:
  """Parts of utterances of like length, so that batches are full."""

  def bucket(utterance: Utterance) -> int:
    try:
      samples = audio_files.audio_length(utterance.path, rate)
    except ValueError:
      return 0
    return length_bucket(max(1, samples), unit=rate)

  with futures.ThreadPoolExecutor(workers) as pool:
    buckets = list(pool.map(bucket, utterances))
  order = sorted(
    range(len(utterances)), key=lambda i: (buckets[i], utterances[i].id)
  )
  ordered = [utterances[i] for i in order]
  return [ordered[i : i + _PART] for i in range(0, len(ordered), _PART)]


def _file(folder: pathlib.Path, number: int) -> pathlib.Path:
  return folder / f"{number:06}.safetensors"


def _make_parts(
  parts: Sequence[Sequence[Utterance]],
  folder: pathlib.Path,
  config: TokenizeConfig,
  codec: AcousticTokenizer,
  semantic: Tokenizer,
) -> None:
  rates = {codec.sample_rate, semantic.sample_rate}

  def read(utterance: Utterance) -> _Audio:
    try:
      audio = {r: audio_files.read_audio(utterance.path, r) for r in rates}
    except ValueError as error:
      return str(error)
    if utterance.speed == 1:
      return audio
    return {
      rate: soxr.resample(samples, rate * utterance.speed, rate)
      for rate, samples in audio.items()
    }

  missing = [n for n in range(len(parts)) if not _file(folder, n).exists()]
  total = sum(map(len, parts))
  bar = tqdm.tqdm(
    total=total,
    initial=total - sum(len(parts[n]) for n in missing),
    unit="utt",
    desc="tokenize",
  )
  with bar, futures.ThreadPoolExecutor(config.workers) as pool:
    # The next part is read while this one is encoded.
    reading = [pool.submit(read, u) for n in missing[:1] for u in parts[n]]
    for place, number in enumerate(missing):
      audio = [future.result() for future in reading]
      following = missing[place + 1 : place + 2]
      reading = [pool.submit(read, u) for n in following for u in parts[n]]
      _make_part(
        _file(folder, number), parts[number], audio, config, codec, semantic
      )
      bar.update(len(parts[number]))


def _make_part(
  path: pathlib.Path,
  part: Sequence[Utterance],
  audio: Sequence[_Audio],
  config: TokenizeConfig,
  codec: AcousticTokenizer,
  semantic: Tokenizer,
) -> None:
  unreadable = {}
  readable = []
  for utterance, samples in zip(part, audio, strict=True):
    if isinstance(samples, str):
      tqdm.tqdm.write(f"left out: {samples}", file=sys.stderr)
      unreadable[utterance.id] = samples
    else:
      readable.append((utterance.id, samples))
  arrays = {}
  for name, tokenizer in (("semantic", semantic), ("acoustic", codec)):
    tokens = encode_utterances(
      tokenizer,
      [samples[tokenizer.sample_rate] for _, samples in readable],
      batch_size=config.batch_size,
    )
    for (key, _), ids in zip(readable, tokens, strict=True):
      arrays[f"{name}/{key}"] = np.ascontiguousarray(ids, np.int32)
  for key, _ in readable:
    # Resampling to two rates can round an utterance's end differently.
    covered = (
      len(arrays[f"semantic/{key}"])
      * Fraction(codec.tokens_per_second)
      / Fraction(semantic.tokens_per_second)
    )
    acoustic = arrays[f"acoustic/{key}"][: int(covered)]
    arrays[f"acoustic/{key}"] = acoustic
  partial = path.with_suffix(".partial")
  safetensors.numpy.save_file(
    arrays, partial, metadata={"unreadable": json.dumps(unreadable)}
  )
  partial.replace(path)


def _examples(
  parts: Sequence[Sequence[Utterance]],
  folder: pathlib.Path,
  split: str,
  *,
  frame_rate: Fraction,
  longest: float,
) -> Iterator[TokenExample]:
  where: dict[str, int] = {}
  seconds: dict[str, float] = {}
  kept: list[Utterance] = []
  for number, part in enumerate(parts):
    with safetensors.safe_open(_file(folder, number), "numpy") as file:
      failed = json.loads(file.metadata()["unreadable"])
      for utterance in part:
        if utterance.split == split and utterance.id not in failed:
          kept.append(utterance)
          where[utterance.id] = number
          frames, _ = file.get_slice(f"acoustic/{utterance.id}").get_shape()
          seconds[utterance.id] = float(frames / frame_rate)

  def tokens(utterance: Utterance) -> dict[str, np.ndarray]:
    path = _file(folder, where[utterance.id])
    with safetensors.safe_open(path, "numpy") as file:
      return {
        name: file.get_tensor(f"{name}/{utterance.id}")
        for name in ("semantic", "acoustic")
      }

  for joined in join(kept, seconds, longest=longest):
    first, *more = joined
    found = [tokens(utterance) for utterance in joined]
    yield TokenExample(
      id=f"{first.id}+{len(more)}" if more else first.id,
      speaker=first.speaker,
      text=" ".join(u.text for u in joined if u.text),
      semantic=np.concatenate([one["semantic"] for one in found]),
      acoustic=np.concatenate([one["acoustic"] for one in found]),
    )


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
  from soundstorm_jax.tokenizers.learned import load_semantic
  from soundstorm_jax.tokenizers.soundstream import SoundStreamTokenizer

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
