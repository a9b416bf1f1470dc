"""How much semantic tokens tell of the phones, and how little of the speaker.

Counts of what goes together, and measures of them: the phonetic ones are those
of HuBERT (arXiv 2106.07447, section IV-D).

Axes: S tokens, K clusters, A phones, P steps of 10 ms, U utterances, H
speakers.
"""

from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from soundstorm_jax.evaluation.measures import Measure


class Spoken(NamedTuple):
  """One utterance.

  Attributes:
    speaker: who says it.
    tokens: what the tokenizer made of it.
    phones: numbers every 10 ms, below zero where unknown.
  """

  speaker: str
  tokens: Int[np.ndarray, "S"]
  phones: Int[np.ndarray, "P"]


def phones_of_tokens(
  phones: Int[np.ndarray, "P"], tokens: int, *, steps_per_token: Fraction | int
) -> Int[np.ndarray, "S"]:
  """The phone in the middle of each token; -1 beyond the last phone."""
  ratio = Fraction(steps_per_token)
  middle = [int((2 * s + 1) * ratio / 2) for s in range(tokens)]
  padded = np.append(phones, -1)
  return padded[np.minimum(middle, phones.size)].astype(np.int64)


def mutual_information(counts: Float[np.ndarray, "A K"]) -> float:
  """I(row; column) in nats of joint counts."""
  joint = counts / counts.sum()
  independent = joint.sum(1, keepdims=True) * joint.sum(0, keepdims=True)
  there = joint > 0
  return float((joint[there] * np.log(joint[there] / independent[there])).sum())


def entropy(counts: Float[np.ndarray, "A"]) -> float:
  """H in nats of counts."""
  share = counts[counts > 0] / counts.sum()
  return float(-(share * np.log(share)).sum())


def explained(counts: Float[np.ndarray, "A K"]) -> float:
  """I(row; column) / H(row): 1 if the column tells the row.

  With phones as rows it is PNMI. 0 where there is nothing to tell.
  """
  total = entropy(counts.sum(1))
  return mutual_information(counts) / total if total else 0.0


def purity(counts: Float[np.ndarray, "A K"]) -> float:
  """How often a column's commonest row is the row.

  Phone purity with phones as rows, cluster purity with clusters as rows.
  """
  return float(counts.max(0).sum() / counts.sum())


def speaker_accuracy(
  histograms: Float[np.ndarray, "U K"], speakers: Int[np.ndarray, "U"]
) -> float:
  """How often naive Bayes tells who spoke, from the tokens of one utterance.

  Every utterance is judged by what all others of all speakers say.
  """
  count = int(speakers.max()) + 1
  totals = np.stack([histograms[speakers == h].sum(0) for h in range(count)])
  right = 0
  for histogram, speaker in zip(histograms, speakers, strict=True):
    others = totals.astype(float)
    others[speaker] -= histogram
    others += 1.0
    others /= others.sum(1, keepdims=True)
    right += int((np.log(others) @ histogram).argmax() == speaker)
  return right / len(speakers)


def phonetic_measures(
  spoken: Sequence[Spoken],
  *,
  phones: int,
  clusters: int,
  steps_per_token: Fraction | int,
) -> Iterator[Measure]:
  """Judges the tokens of utterances.

  Args:
    spoken: utterances of two or more speakers.
    phones: number of them, silence included.
    clusters: number of different tokens.
    steps_per_token: 10 ms steps in a token.

  Yields:
    semantic/...: `pnmi`, `phone_purity` and `cluster_purity`; `speaker_nmi`,
    the share of the entropy of speakers that one token tells; and
    `speaker_accuracy` and `speaker_chance`, of telling the speaker from the
    tokens of an utterance and by always naming the commonest; `used`, different
    tokens seen; `tokens`, how many were counted.

  Raises:
    ValueError: fewer than two speakers, or no known phone.
  """
  names = sorted({one.speaker for one in spoken})
  if len(names) < 2:
    raise ValueError(f"speakers must be two or more, got {len(names)}")
  joint = np.zeros((phones, clusters))
  histograms = np.zeros((len(spoken), clusters))
  speakers = np.array([names.index(one.speaker) for one in spoken])
  for row, one in enumerate(spoken):
    labels = phones_of_tokens(
      one.phones, one.tokens.size, steps_per_token=steps_per_token
    )
    known = labels >= 0
    np.add.at(joint, (labels[known], one.tokens[known]), 1)
    np.add.at(histograms[row], one.tokens, 1)
  if not joint.any():
    raise ValueError(f"none of {len(spoken)} utterances has known phones")
  by_speaker = np.stack(
    [histograms[speakers == h].sum(0) for h in range(len(names))]
  )
  for name, value in {
    "pnmi": explained(joint),
    "phone_purity": purity(joint),
    "cluster_purity": purity(joint.T),
    "speaker_nmi": explained(by_speaker),
    "speaker_accuracy": speaker_accuracy(histograms, speakers),
    "speaker_chance": float(np.bincount(speakers).max() / len(speakers)),
    "used": int((histograms.sum(0) > 0).sum()),
    "tokens": int(joint.sum()),
  }.items():
    yield Measure(f"semantic/{name}", value)
