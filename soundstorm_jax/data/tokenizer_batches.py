"""Batches of utterances of any length, in few shapes.

An utterance is padded to a bucket that depends on its own length only, and a
batch of a bucket always has the same number of rows, silent ones filling it
up. So few shapes are compiled, and an utterance's tokens do not depend on what
it is encoded with.

Axes: B batch, N samples, S or T tokens, Q levels, C feature dimensions.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import soxr
from jaxtyping import Array, Float, Int

from soundstorm_jax.data.tokenizer import Tokenizer, token_count

# Seconds up to which a batch has all its rows; longer ones have fewer.
_FULL_SECONDS = 32


def length_bucket(samples: int, *, unit: int) -> int:
  """The smallest of 1, 2, 3, 4, 6, 8, 12, ... times `unit` that holds them.

  Raises:
    ValueError: there are no samples.
  """
  if samples < 1:
    raise ValueError(f"an utterance must have samples, got {samples}")
  size = 1
  while size * unit < samples:
    # 2^n, 3 * 2^(n - 1), 2^(n + 1), ...: at most half again as long.
    power = 1 << (size.bit_length() - 1)
    size = size + power // 2 if size == power and size > 1 else 2 * power
  return size * unit


def encode_utterances(
  tokenizer: Tokenizer,
  utterances: Sequence[Float[np.ndarray, "_"]],
  *,
  batch_size: int,
) -> list[Int[np.ndarray, "_"] | Int[np.ndarray, "_ Q"]]:
  """Tokens of each utterance, in the order given.

  Args:
    tokenizer: semantic or acoustic.
    utterances: float32 samples at the tokenizer's rate.
    batch_size: rows of a batch of up to 32 s; longer ones have fewer.

  Raises:
    ValueError: an utterance is empty.
  """
  rate = tokenizer.sample_rate
  buckets: dict[int, list[int]] = defaultdict(list)
  for number, audio in enumerate(utterances):
    buckets[length_bucket(audio.size, unit=rate)].append(number)
  tokens: dict[int, np.ndarray] = {}
  for bucket, numbers in sorted(buckets.items()):
    seconds = bucket // rate
    rows = max(1, batch_size * _FULL_SECONDS // max(seconds, _FULL_SECONDS))
    for first in range(0, len(numbers), rows):
      chosen = numbers[first : first + rows]
      batch = np.zeros((rows, bucket), np.float32)
      lengths = np.full(rows, bucket, np.int32)
      for row, number in enumerate(chosen):
        lengths[row] = utterances[number].size
        batch[row, : lengths[row]] = utterances[number]
      ids = np.asarray(tokenizer.encode(batch, lengths))
      for row, number in enumerate(chosen):
        count = token_count(tokenizer, utterances[number].size)
        tokens[number] = ids[row, :count]
  return [tokens[number] for number in range(len(utterances))]


def collect_frames(
  compute: Callable[
    [Float[np.ndarray, "B N"], Int[np.ndarray, "B"]], Float[Array, "B S C"]
  ],
  recordings: Iterable[Float[np.ndarray, "_"]],
  *,
  sample_rate: int,
  hop: int,
  max_frames: int,
) -> Float[np.ndarray, "_ C"]:
  """Feature vectors of recordings, up to `max_frames` of them.

  Args:
    compute: (audio, lengths) -> features.
    recordings: float32 samples; no more are taken than needed.
    sample_rate: of them, in Hz.
    hop: samples of a frame.
    max_frames: of the result.

  Raises:
    ValueError: there are no recordings, or one is empty.
  """
  found: list[np.ndarray] = []
  total = 0
  for recording in recordings:
    bucket = length_bucket(recording.size, unit=sample_rate)
    audio = np.zeros((1, bucket), np.float32)
    audio[0, : recording.size] = recording
    frames = -(-recording.size // hop)
    lengths = np.array([recording.size], np.int32)
    found.append(np.asarray(compute(audio, lengths))[0, :frames])
    total += frames
    if total >= max_frames:
      break
  return np.concatenate(found)[:max_frames]


def encode_recording(
  tokenizer: Tokenizer, audio: Float[np.ndarray, "N"], sample_rate: int
) -> Int[np.ndarray, "_"] | Int[np.ndarray, "_ Q"]:
  """Tokens of one recording at any rate.

  Args:
    tokenizer: semantic or acoustic.
    audio: mono samples.
    sample_rate: of `audio`, in Hz.

  Raises:
    ValueError: it is empty.
  """
  audio = np.asarray(audio, np.float32)
  if sample_rate != tokenizer.sample_rate:
    audio = soxr.resample(audio, sample_rate, tokenizer.sample_rate)
  return encode_utterances(tokenizer, [audio], batch_size=1)[0]
