"""Are the words right? Word and character error rates of a recogniser.

Moonshine's tiny English model hears the whole of the audio, a prompt included,
for nobody can tell from a transcript where the prompt ends. A prompt's words
are easy: they are the codec's. So there is a second word error rate, of what is
said after the prompt alone. Its reference is the end of the transcript that
fits best what the recogniser hears in that part of the recording: a word that
the cut splits is then an error for all rows alike.
"""

from collections.abc import Sequence

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
from soundstorm_jax.evaluation.text import normalise


class Moonshine:
  """See `Judge`; the model is the one that the package carries.

  Raises:
    ImportError: moonshine-voice or jiwer is not installed.
  """

  columns = (
    Column("wer", "WER %", 2, "word error rate, whole utterance"),
    Column("cer", "CER %", 2, "character error rate, whole utterance"),
    Column(
      "wer_rest", "WER % after", 2, "word error rate of what follows the prompt"
    ),
  )

  def __init__(self):
    moonshine = require("moonshine_voice")
    self._jiwer = require("jiwer")
    self.name = (
      f"{version('moonshine-voice')}, its tiny-en model, and {version('jiwer')}"
    )
    self._transcriber = moonshine.Transcriber(
      str(moonshine.get_model_path("tiny-en")),
      moonshine.ModelArch.TINY,
      options={"identify_speakers": "false"},
    )
    self._ends: dict[str, str] = {}

  def __call__(self, sample: Sample) -> Judgement:
    heard = self._hear(sample.audio)
    text = normalise(sample.text)
    if not text:
      return Judgement({}, heard)
    words = self._jiwer.process_words(text, heard)
    letters = self._jiwer.process_characters(text, heard)
    scores = {"wer": _score(words), "cer": _score(letters)}
    end = self._end(sample)
    if end:
      rest = self._hear(sample.rest)
      scores["wer_rest"] = _score(self._jiwer.process_words(end, rest))
    return Judgement(scores, heard)

  def _end(self, sample: Sample) -> str:
    """What the utterance says after the prompt, judged once for all rows."""
    if sample.utterance not in self._ends:
      text = normalise(sample.text).split()
      heard = self._hear(sample.recording[sample.skip :])
      errors = [
        _score(self._jiwer.process_words(" ".join(text[start:]), heard)).total
        for start in range(len(text))
      ]
      self._ends[sample.utterance] = " ".join(text[best_start(errors) :])
    return self._ends[sample.utterance]

  def _hear(self, audio: Float[np.ndarray, "_"]) -> str:
    transcript = self._transcriber.transcribe_without_streaming(
      audio.tolist(), RATE
    )
    return normalise(" ".join(line.text for line in transcript.lines))


def best_start(errors: Sequence[float]) -> int:
  """The start with the fewest errors; of equals, the latest."""
  return max(range(len(errors)), key=lambda start: (-errors[start], start))


def _score(output) -> Score:
  """Errors, in percent, of words or of characters."""
  errors = output.substitutions + output.deletions + output.insertions
  length = output.substitutions + output.deletions + output.hits
  return Score(100.0 * errors, length)
