"""What is asked of a model, and what it answers.

Axes: N samples, S semantic tokens, T frames, Q levels.
"""

import dataclasses
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int


class SpeechTokens(NamedTuple):
  """What an utterance is made of.

  Attributes:
    semantic: int32, what is said.
    acoustic: int32, how it sounds: the codec's frames.
  """

  semantic: Int[np.ndarray, "S"]
  acoustic: Int[np.ndarray, "T Q"]


@dataclasses.dataclass(frozen=True, eq=False)
class Request:
  """An utterance to generate.

  Attributes:
    semantic: what to say.
    prompt: who says it, and where; any voice if None.
    seed: of the noise, from 0 to 2**32 - 1.
    frames: of the result; as many as `semantic` covers if None.
  """

  semantic: Int[np.ndarray, "S"]
  prompt: SpeechTokens | None = None
  seed: int = 0
  frames: int | None = None


class Times(NamedTuple):
  """Of one batch, in seconds.

  Attributes:
    compile_s: 0 unless the bucket was new.
    sample_s: the forward passes.
    decode_s: the codec.
    passes: forward passes of the network; guidance needs two an iteration.
    requests: how many shared the batch.
    audio_s: what came out, without prompts and padding.
  """

  compile_s: float
  sample_s: float
  decode_s: float
  passes: int
  requests: int
  audio_s: float

  @property
  def run_s(self) -> float:
    """All but compilation."""
    return self.sample_s + self.decode_s

  @property
  def real_time_factor(self) -> float:
    """Seconds of work, without compilation, for a second of audio."""
    return self.run_s / self.audio_s


@dataclasses.dataclass(frozen=True, eq=False)
class Generated:
  """The answer to a request.

  Attributes:
    audio: frames * hop samples at the codec's rate, without the prompt.
    acoustic: the frames generated.
    prompt_frames: frames that were given.
    bucket: frames of the batch it was in.
    times: of that batch.
  """

  audio: Float[np.ndarray, "N"]
  acoustic: Int[np.ndarray, "T Q"]
  prompt_frames: int
  bucket: int
  times: Times
