"""What the rows of a speech evaluation say; see speech.py.

Axes: N samples.
"""

import collections
import dataclasses
import math
from collections.abc import Sequence
from fractions import Fraction
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
import tqdm
from jaxtyping import Float

from soundstorm_jax.data.audio_files import read_audio
from soundstorm_jax.data.utterances import Utterance
from soundstorm_jax.evaluation import summary
from soundstorm_jax.speech.layout import next_bucket, pad, split_tokens
from soundstorm_jax.speech.model import AnySampler, SpeechModel
from soundstorm_jax.speech.requests import Request, SpeechTokens


class Content(NamedTuple):
  """One utterance to judge.

  Attributes:
    utterance: what is said.
    seconds: its length.
    length: its class.
    other: of another speaker, also drawn, for voice conversion.
  """

  utterance: Utterance
  seconds: float
  length: str
  other: Utterance


def buckets(frame_rate: Fraction, prompt_seconds: float) -> tuple[int, ...]:
  """One length of batches for each class, with a prompt before it."""
  return tuple(
    math.ceil((high + prompt_seconds) * frame_rate)
    for _, high in summary.CLASSES.values()
  )


class Generation(NamedTuple):
  """How a row is generated.

  Attributes:
    model: by which it is.
    requests: one an utterance.
    sampler: other settings than the model's own.
    continues: whether the start of the codec's row is heard before it.
  """

  model: SpeechModel
  requests: list[Request]
  sampler: AnySampler | None = None
  continues: bool = False


def speak(
  contents: Sequence[Content],
  model: SpeechModel,
  *,
  prompt_seconds: float,
  audiolm: SpeechModel | None = None,
  iterations: Sequence[int] = (),
  seed: int = 0,
) -> tuple[dict[str, list[Float[np.ndarray, "_"]]], dict[str, float]]:
  """The audio of every row, at the model's rate, and the times it took.

  Args:
    contents: what to say.
    model: that says it.
    prompt_seconds: of each prompt.
    audiolm: the baseline, on the same tokens; its rows are left out if None.
    iterations: at the first level; a row of each instead of the others'.
    seed: of the first utterance's noise; each later one's is one more.
  """
  rate = model.sample_rate
  recordings = [read_audio(c.utterance.path, rate) for c in contents]
  tokens, decoded = _through_codec(contents, recordings, model)
  wanted = _requests(
    contents, tokens, model, prompt_seconds=prompt_seconds, seed=seed
  )
  rows = {summary.ORIGINAL: recordings, summary.CODEC: decoded}
  times: dict[str, float] = collections.defaultdict(float)
  for row, generation in _plan(wanted, model, audiolm, iterations).items():
    print(f"generating {titles(iterations)[row]}", flush=True)
    made = generation.model.generate_batch(
      generation.requests, sampler=generation.sampler
    )
    whose = "audiolm_" if generation.model is audiolm else ""
    for spent in {id(result.times): result.times for result in made}.values():
      times[f"{whose}compile_s"] += spent.compile_s
      times[f"{whose}run_s"] += spent.run_s
      times[f"{whose}audio_s"] += spent.audio_s
    audio = [result.audio for result in made]
    if generation.continues:
      # The codec is causal: its own start, then what was generated after it.
      audio = [
        np.concatenate([codec[: len(asked.prompt.acoustic) * model.hop], rest])
        for codec, asked, rest in zip(
          decoded, generation.requests, audio, strict=True
        )
      ]
    rows[row] = [
      one[: len(recording)]
      for one, recording in zip(audio, recordings, strict=True)
    ]
  return rows, dict(times)


def _through_codec(
  contents: Sequence[Content],
  recordings: Sequence[Float[np.ndarray, "_"]],
  model: SpeechModel,
) -> tuple[dict[str, SpeechTokens], list[Float[np.ndarray, "_"]]]:
  """Tokens by the utterance's id, and what the codec makes of them."""
  bar = tqdm.tqdm(
    recordings, unit="recording", desc=summary.ROWS[summary.CODEC]
  )
  tokens_of, decoded = {}, []
  for content, recording in zip(contents, bar, strict=True):
    tokens = model.encode(recording, model.sample_rate)
    tokens_of[content.utterance.id] = tokens
    bucket = next_bucket(len(tokens.acoustic), model.limits.buckets)
    # One row, where the model's own `decode` fills a batch of them.
    audio = model.codec.decode(jnp.asarray(pad(tokens.acoustic, bucket)[None]))
    decoded.append(np.asarray(audio[0, : len(recording)]))
  return tokens_of, decoded


class _Requests(NamedTuple):
  """What is asked of a model, one an utterance.

  Attributes:
    alone: all of it, in any voice.
    continuations: what follows its own start.
    conversions: all of it, in another speaker's voice.
  """

  alone: list[Request]
  continuations: list[Request]
  conversions: list[Request]


def _requests(
  contents: Sequence[Content],
  tokens_of: dict[str, SpeechTokens],
  model: SpeechModel,
  *,
  prompt_seconds: float,
  seed: int,
) -> _Requests:
  asked = _Requests([], [], [])
  for number, content in enumerate(contents, seed):
    tokens = tokens_of[content.utterance.id]
    start, rest = split_tokens(tokens, prompt_seconds, model.limits)
    voice, _ = split_tokens(
      tokens_of[content.other.id], prompt_seconds, model.limits
    )
    whole = {"seed": number, "frames": len(tokens.acoustic)}
    asked.alone.append(Request(tokens.semantic, **whole))
    asked.continuations.append(
      Request(rest.semantic, start, seed=number, frames=len(rest.acoustic))
    )
    asked.conversions.append(Request(tokens.semantic, voice, **whole))
  return asked


def _plan(
  asked: _Requests,
  model: SpeechModel,
  audiolm: SpeechModel | None,
  iterations: Sequence[int],
) -> dict[str, Generation]:
  """How each row is generated, in the order of the table."""
  if iterations:
    return {
      iterations_row(count): Generation(
        model,
        asked.continuations,
        dataclasses.replace(
          model.sampler, iterations=(count, *model.sampler.iterations[1:])
        ),
        continues=True,
      )
      for count in iterations
    }
  plan = {
    summary.NO_PROMPT: Generation(model, asked.alone),
    summary.PROMPT: Generation(model, asked.continuations, continues=True),
    summary.CONVERSION: Generation(model, asked.conversions),
  }
  if audiolm is not None:
    plan |= {
      summary.AUDIOLM_NO_PROMPT: Generation(audiolm, asked.alone),
      summary.AUDIOLM_PROMPT: Generation(
        audiolm, asked.continuations, continues=True
      ),
    }
  return plan


def iterations_row(count: int) -> str:
  """The row of so many iterations at the first level."""
  return f"iterations_{count}"


def titles(iterations: Sequence[int] = ()) -> dict[str, str]:
  """Of all rows that `speak` can make, in the order of the table."""
  if not iterations:
    return dict(summary.ROWS)
  above = (summary.ORIGINAL, summary.CODEC)
  return {row: summary.ROWS[row] for row in above} | {
    iterations_row(count): f"prompt, {count} at level 1" for count in iterations
  }
