"""What semantic tokens tell of phones and speakers: a part of evaluate.py."""

import pathlib
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import tqdm

from soundstorm_jax.data.audio_files import AudioFile, read_audio
from soundstorm_jax.data.phones import PHONES, STEPS_PER_SECOND, read_phones
from soundstorm_jax.data.tokenizer_batches import encode_recording
from soundstorm_jax.evaluation.measures import Measure
from soundstorm_jax.evaluation.phonetic import Spoken, phonetic_measures
from soundstorm_jax.semantic.learned import load_semantic


def judge_semantic(
  semantic_file: str | pathlib.Path,
  files: Sequence[AudioFile],
  *,
  phones_file: str | pathlib.Path,
) -> tuple[list[Measure], dict[str, Any]]:
  """Measures of a semantic tokenizer, and what was judged.

  Args:
    semantic_file: semantic.safetensors, of either kind.
    files: recordings of two or more speakers.
    phones_file: of `soundstorm_jax.semantic.align`; recordings that it lacks
      are left out.

  Raises:
    ValueError: see `phonetic_measures`, or a file that cannot be read.
  """
  tokenizer = load_semantic(semantic_file)
  phones = read_phones(phones_file)
  spoken = []
  for file in tqdm.tqdm(files, unit="recording"):
    if file.id not in phones:
      continue
    audio = read_audio(file.path, tokenizer.sample_rate)
    tokens = encode_recording(tokenizer, audio, tokenizer.sample_rate)
    spoken.append(Spoken(file.speaker, tokens, phones[file.id]))
  measures = phonetic_measures(
    spoken,
    phones=len(PHONES),
    clusters=tokenizer.vocabulary,
    steps_per_token=STEPS_PER_SECOND / Fraction(tokenizer.tokens_per_second),
  )
  return list(measures), {"weights": {"semantic": tokenizer.fingerprint}}
