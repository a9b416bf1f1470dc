"""Whose voice is it? Cosines of the embeddings of a speaker verifier.

Voice preservation compares a prompt, as recorded, with all that follows it, and
beside it somebody else's recording with the same. Acoustic consistency compares
the prompt with each later window of 3 s: whether the voice, and the room that
an embedding shows of it, drifts. The paper has a learnt embedding of its own
for the latter (SoundStorm, arXiv 2305.09636, table 1); ours is the same as for
voices.
"""

import importlib.metadata

import numpy as np
from jaxtyping import Float

from soundstorm_jax.evaluation.judges import (
  RATE,
  Column,
  Judgement,
  Sample,
  Score,
  require,
  version,
)

_WINDOW = 3 * RATE
# One of the encoder's own windows: less voice than that is hardly any.
_LEAST = int(1.6 * RATE)


class Resemblyzer:
  """A GE2E speaker encoder; see `Judge`.

  Raises:
    ImportError: resemblyzer or torch is not installed.
  """

  columns = (
    Column("voice", "voice", 3, "cosine, prompt and what follows it"),
    Column("stranger", "other voice", 3, "cosine, another speaker likewise"),
    Column(
      "consistency",
      "consistency",
      3,
      "cosine, prompt and each later window of 3 s; Resemblyzer's embedding",
    ),
  )

  def __init__(self):
    # webrtcvad asks pkg_resources, which is no more, for its own version.
    self._package = require(
      "resemblyzer",
      pkg_resources={"get_distribution": importlib.metadata.distribution},
    )
    self.name = f"{version('resemblyzer')} on {version('torch')}"
    self._encoder = self._package.VoiceEncoder("cpu", verbose=False)

  def __call__(self, sample: Sample) -> Judgement:
    voice, stranger, rest = map(
      self._embed, (sample.voice, sample.stranger, sample.rest)
    )
    scores = {
      "voice": Score(cosine(voice, rest), 1),
      "stranger": Score(cosine(stranger, rest), 1),
    }
    parts = windows(sample.rest)
    if parts:
      cosines = [cosine(voice, self._embed(part)) for part in parts]
      scores["consistency"] = Score(float(np.mean(cosines)), 1)
    return Judgement(scores)

  def _embed(self, audio: Float[np.ndarray, "_"]) -> Float[np.ndarray, "_"]:
    if not audio.any():
      return np.zeros(1, np.float32)
    voiced = self._package.preprocess_wav(audio)
    # Where no speech is found, what there is counts, or noise would be spared.
    return self._encoder.embed_utterance(
      voiced if len(voiced) >= min(_LEAST, len(audio) // 2) else audio
    )


def windows(audio: Float[np.ndarray, "_"]) -> list[Float[np.ndarray, "_"]]:
  """All whole windows of 3 s, one after the other."""
  starts = range(0, len(audio) - _WINDOW + 1, _WINDOW)
  return [audio[start : start + _WINDOW] for start in starts]


def cosine(one: Float[np.ndarray, "_"], other: Float[np.ndarray, "_"]) -> float:
  """Of the angle between two vectors; 0 if either is zero or not finite."""
  size = np.linalg.norm(one) * np.linalg.norm(other)
  if not (np.isfinite(size) and size > 0 and one.shape == other.shape):
    return 0.0
  return float(np.vdot(one, other) / size)
