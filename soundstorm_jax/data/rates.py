"""Semantic tokens at the codec's frame rate.

They are repeated, and repeated neighbours stay (SoundStorm, arXiv 2305.09636,
section 3.1): frame t has token floor(t * semantic rate / frame rate).

Axes: T frames, S semantic tokens.
"""

from fractions import Fraction

import numpy as np
from jaxtyping import Int


def repeat_to_frames(
  semantic: Int[np.ndarray, "S"],
  frames: int,
  *,
  semantic_rate: Fraction,
  frame_rate: Fraction,
) -> Int[np.ndarray, "T"]:
  """Semantic tokens at the frame rate, for any ratio of the two.

  Raises:
    ValueError: the tokens end before the frames do.
  """
  ratio = Fraction(semantic_rate) / Fraction(frame_rate)
  index = np.arange(frames) * ratio.numerator // ratio.denominator
  if frames and index[-1] >= len(semantic):
    raise ValueError(
      f"{frames} frames need {index[-1] + 1} semantic tokens, got "
      f"{len(semantic)}"
    )
  return semantic[index]
