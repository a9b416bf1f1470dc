"""A small file of packed tokens, made without TensorFlow."""

from fractions import Fraction

import numpy as np

from soundstorm_jax.data.packed import write_packed
from soundstorm_jax.data.token_example import TokenExample, TokenMetadata

SIZES = {"levels": 2, "codes": 16, "semantic_vocab": 8}


def write_tokens(path, *, train=10, test=3) -> None:
  """Writes utterances of 10 frames and more."""
  rng = np.random.default_rng(0)

  def example(number, split):
    frames = 10 + 3 * number
    return TokenExample(
      id=f"{split}-{number}",
      speaker=split,
      text="",
      semantic=rng.integers(0, 8, -(-frames // 2)).astype(np.int32),
      acoustic=rng.integers(0, 16, (frames, 2)).astype(np.int32),
    )

  write_packed(
    path,
    metadata=TokenMetadata(
      sample_rate=16000,
      frame_rate=Fraction(50),
      semantic_rate=Fraction(25),
      codec_fingerprint="c0dec",
      semantic_fingerprint="5e3a",
      **SIZES,
    ),
    examples={
      "train": [example(i, "train") for i in range(train)],
      "test": [example(i, "test") for i in range(test)],
    },
  )
