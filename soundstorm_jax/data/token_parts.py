"""Tokens of many recordings, made part after part, on their way to a dataset.

A part is some utterances of like length: its file appears only when it is whole
and says which of them cannot be read. So an interruption costs a part at most,
and a later run makes what is missing. A note of what the parts are of keeps
them from being taken for another job's.

Axes: S semantic tokens, T frames, Q levels.
"""

import hashlib
import json
import pathlib
import sys
from collections.abc import Iterator, Sequence
from concurrent import futures
from fractions import Fraction

import numpy as np
import safetensors
import safetensors.numpy
import soxr
import tqdm

from soundstorm_jax.data import audio_files
from soundstorm_jax.data.token_example import TokenExample
from soundstorm_jax.data.tokenizer import AcousticTokenizer, Tokenizer
from soundstorm_jax.data.tokenizer_batches import (
  encode_utterances,
  length_bucket,
)
from soundstorm_jax.data.utterances import Utterance, join

# Utterances whose tokens are saved together: what an interruption can cost.
_PART = 128
# Samples at each of the rates that the tokenizers take, or what went wrong.
_Audio = dict[int, np.ndarray] | str


def make_digest(
  utterances: Sequence[Utterance],
  *,
  codec: Tokenizer,
  semantic: Tokenizer,
  batch_size: int,
  join_seconds: float,
) -> str:
  """Tells one dataset from another: recordings, weights, shapes."""
  text = json.dumps(
    [
      [(u.id, u.speaker, u.text, u.split) for u in utterances],
      [codec.fingerprint, semantic.fingerprint],
      [batch_size, _PART, join_seconds],
    ]
  )
  return hashlib.sha256(text.encode()).hexdigest()[:16]


def claim(output: pathlib.Path, digest: str) -> pathlib.Path:
  """The folder of the parts, once it is certain that they are this job's.

  Raises:
    ValueError: it holds parts of another digest.
  """
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


def plan(
  utterances: Sequence[Utterance], *, rate: int, workers: int
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


def make_parts(
  parts: Sequence[Sequence[Utterance]],
  folder: pathlib.Path,
  *,
  codec: AcousticTokenizer,
  semantic: Tokenizer,
  batch_size: int,
  workers: int,
) -> None:
  """Makes the files of those parts that have none yet.

  Args:
    parts: of `plan`.
    folder: of `claim`.
    codec: gives the acoustic tokens.
    semantic: gives the semantic tokens.
    batch_size: utterances encoded at a time.
    workers: parallel reads.
  """
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
  with bar, futures.ThreadPoolExecutor(workers) as pool:
    # The next part is read while this one is encoded.
    reading = [pool.submit(read, u) for n in missing[:1] for u in parts[n]]
    for place, number in enumerate(missing):
      audio = [future.result() for future in reading]
      following = missing[place + 1 : place + 2]
      reading = [pool.submit(read, u) for n in following for u in parts[n]]
      _make_part(
        _file(folder, number), parts[number], audio, codec, semantic, batch_size
      )
      bar.update(len(parts[number]))


def _make_part(
  path: pathlib.Path,
  part: Sequence[Utterance],
  audio: Sequence[_Audio],
  codec: AcousticTokenizer,
  semantic: Tokenizer,
  batch_size: int,
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
      batch_size=batch_size,
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


def read_unreadable(folder: pathlib.Path, *, count: int) -> dict[str, str]:
  """Utterances that are in none of the first `count` parts, and why, by id."""
  unreadable: dict[str, str] = {}
  for number in range(count):
    with safetensors.safe_open(_file(folder, number), "numpy") as file:
      unreadable |= json.loads(file.metadata()["unreadable"])
  return unreadable


def examples(
  parts: Sequence[Sequence[Utterance]],
  folder: pathlib.Path,
  *,
  split: str,
  frame_rate: Fraction,
  join_seconds: float,
) -> Iterator[TokenExample]:
  """A split's examples, from parts that are all made.

  Args:
    parts: of `plan`.
    folder: of `claim`.
    split: of the utterances.
    frame_rate: of the acoustic tokens.
    join_seconds: see `utterances.join`.
  """
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

  for joined in join(kept, seconds, longest=join_seconds):
    first, *more = joined
    found = [tokens(utterance) for utterance in joined]
    yield TokenExample(
      id=f"{first.id}+{len(more)}" if more else first.id,
      speaker=first.speaker,
      text=" ".join(u.text for u in joined if u.text),
      semantic=np.concatenate([one["semantic"] for one in found]),
      acoustic=np.concatenate([one["acoustic"] for one in found]),
    )
