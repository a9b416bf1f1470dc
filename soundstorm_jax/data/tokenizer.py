"""What a tokenizer offers: audio in, integer tokens out.

A tokenizer may be a formula, a clustering, or a network on an accelerator; the
programs see only this protocol. Semantic tokenizers give one id a token,
acoustic ones (codecs) one id a level.

Two promises make the tokens of an utterance its own. `encode` is told every
row's true length, so that what follows it in the padded batch has no influence.
And `token_count` says how many tokens belong to a length, so that the rest of a
padded row can be dropped.

Axes: B batch, N samples, S or T tokens, Q levels.
"""

from fractions import Fraction
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Array, Float, Int


@runtime_checkable
class Tokenizer(Protocol):
  """Audio to one stream of ids in [0, vocabulary).

  Attributes:
    sample_rate: of the audio it takes, in Hz.
    tokens_per_second: exact; an int or a Fraction.
    vocabulary: number of different ids.
    fingerprint: identifies the weights, for the metadata of what they made.
  """

  sample_rate: int
  tokens_per_second: int | Fraction
  vocabulary: int
  fingerprint: str

  def encode(
    self,
    audio: Float[np.ndarray, "B N"],
    lengths: Int[np.ndarray, "B"],
  ) -> Int[Array, "B S"] | Int[Array, "B T Q"]:
    """Ids of a padded batch; each shape of it compiles once.

    Args:
      audio: float32, rows padded at the end with anything.
      lengths: samples of each row that count.

    Returns:
      int32 ids; row b's first `token_count(self, lengths[b])` are its tokens,
      whatever else is in the batch.
    """


@runtime_checkable
class AcousticTokenizer(Tokenizer, Protocol):
  """A codec: ids have a level axis, and turn back into audio.

  Attributes:
    levels: ids of a token, coarse to fine.
  """

  levels: int

  def decode(self, tokens: Int[Array, "B T q"]) -> Float[Array, "B N"]:
    """Audio from the first q levels, 1 <= q <= levels."""


def token_count(tokenizer: Tokenizer, samples: int) -> int:
  """Tokens of so many samples: a partly filled last token counts.

  Two tokenizers whose rates are r and c * r give S and T tokens with
  T <= c * S: repeating the slower ones always covers the faster ones.
  """
  seconds = Fraction(samples, tokenizer.sample_rate)
  return -int(-seconds * tokenizer.tokens_per_second // 1)
