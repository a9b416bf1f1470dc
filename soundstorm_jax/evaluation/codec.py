"""How much of a recording survives the codec, by the number of levels.

Every recording is encoded once and decoded from its first q levels; each result
is compared with the recording by measures that need it as the reference: STOI
(how intelligible, up to 1) and wideband PESQ (ITU-T P.862.2, quality as a mean
opinion score from 1.04 to 4.64).

A recording that some measure cannot judge at some q (too short, nothing but
silence) is left out of all means, so that they are of the same recordings.

Axes: N samples, T frames, Q levels.
"""

import math
import pathlib
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
import soxr
import tqdm
from jaxtyping import Float

from soundstorm_jax.data.audio_files import AudioFile, read_audio
from soundstorm_jax.data.tokenizer import AcousticTokenizer
from soundstorm_jax.data.tokenizer_batches import (
  encode_recording,
  length_bucket,
)
from soundstorm_jax.evaluation.measures import Measure
from soundstorm_jax.soundstream.tokenizer import SoundStreamTokenizer

# Reference, what became of it, and the rate of both in Hz; None where the
# measure is not defined.
Metric = Callable[[np.ndarray, np.ndarray, int], float | None]

# Wideband PESQ is defined at this rate alone.
_PESQ_RATE = 16000
# Numbers of levels to decode if none are asked for.
_LEVELS = (1, 2, 4, 8, 12)


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


def codec_quality(
  codec: AcousticTokenizer,
  recordings: Iterable[Float[np.ndarray, "_"]],
  *,
  levels: Sequence[int],
  metrics: Mapping[str, Metric] | None = None,
) -> Iterator[Measure]:
  """Judges a codec's reconstruction of recordings.

  Args:
    codec: causal, since frames are padded at the end before they are decoded.
    recordings: mono, at the codec's rate.
    levels: numbers of levels to decode, each a row.
    metrics: by name; STOI and PESQ if None.

  Yields:
    For each q of `levels`, levels_q/...: the mean of every metric over the
    recordings; `kbps`, the rate of the tokens in kbit/s; `recordings`, how many
    were judged, and `left_out`, how many could not be.

  Raises:
    ImportError: the packages behind STOI and PESQ are not installed.
    ValueError: a number of levels that the codec has not, twice the same, or no
      recording that can be judged.
  """
  wrong = [count for count in levels if not 1 <= count <= codec.levels]
  if wrong or not levels or len(set(levels)) < len(levels):
    raise ValueError(
      f"levels must be different numbers from 1 to {codec.levels}, got "
      f"{tuple(levels)}"
    )
  metrics = speech_metrics() if metrics is None else metrics
  totals = {count: dict.fromkeys(metrics, 0.0) for count in levels}
  judged = left_out = 0
  for audio in recordings:
    scores = {
      count: {
        name: metric(audio, decoded, codec.sample_rate)
        for name, metric in metrics.items()
      }
      for count, decoded in _reconstructions(codec, audio, levels)
    }
    if any(None in of.values() for of in scores.values()):
      left_out += 1
      continue
    judged += 1
    for count, of in scores.items():
      for name, value in of.items():
        totals[count][name] += value
  if not judged:
    raise ValueError(f"none of {left_out} recordings could be judged")
  bits = math.log2(codec.vocabulary) * float(codec.tokens_per_second)
  for count in levels:
    row = f"levels_{count:02d}"
    for name, total in totals[count].items():
      yield Measure(f"{row}/{name}", total / judged)
    yield Measure(f"{row}/kbps", count * bits / 1000)
    yield Measure(f"{row}/recordings", judged)
    yield Measure(f"{row}/left_out", left_out)


def _reconstructions(
  codec: AcousticTokenizer, audio: np.ndarray, levels: Sequence[int]
) -> Iterator[tuple[int, np.ndarray]]:
  """The recording from its first q levels, cut to its own length."""
  tokens = encode_recording(codec, audio, codec.sample_rate)
  unit = math.ceil(codec.tokens_per_second)
  padding = length_bucket(len(tokens), unit=unit) - len(tokens)
  tokens = jnp.asarray(np.pad(tokens, ((0, padding), (0, 0)))[None])
  for count in levels:
    decoded = codec.decode(tokens[:, :, :count])
    yield count, np.asarray(decoded)[0, : audio.size]


def speech_metrics() -> dict[str, Metric]:
  """STOI and wideband PESQ.

  Raises:
    ImportError: their packages are not installed.
  """
  try:
    import pesq
    import pystoi
  except ImportError as error:
    raise ImportError(
      "STOI and PESQ need the packages of the extra 'eval': "
      "pip install 'soundstorm-jax[eval]'"
    ) from error

  def stoi(
    reference: np.ndarray, result: np.ndarray, rate: int
  ) -> float | None:
    with warnings.catch_warnings():
      # It says so, and returns almost zero, if too little is left of speech.
      warnings.filterwarnings("error", message="Not enough STFT frames")
      try:
        return float(pystoi.stoi(reference, result, rate))
      except RuntimeWarning:
        return None

  def wideband(
    reference: np.ndarray, result: np.ndarray, rate: int
  ) -> float | None:
    if not (reference.any() and result.any()):
      return None  # It would divide by zero.
    if rate != _PESQ_RATE:
      reference, result = (
        soxr.resample(audio, rate, _PESQ_RATE) for audio in (reference, result)
      )
    try:
      return float(pesq.pesq(_PESQ_RATE, reference, result, "wb"))
    except (pesq.NoUtterancesError, pesq.BufferTooShortError):
      return None

  return {"stoi": stoi, "pesq": wideband}
