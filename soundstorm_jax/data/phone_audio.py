"""Windows of audio with their phones, for the training of semantic tokens.

Axes: B batch, N samples of a window, P steps of 10 ms.
"""

from typing import Any

import numpy as np
import tensorflow as tf

from soundstorm_jax.config import DataConfig
from soundstorm_jax.data import phones
from soundstorm_jax.data.audio import AudioSource
from soundstorm_jax.data.audio_files import AudioFile


class PhoneAudioSource(AudioSource):
  """Batches {"audio": (B, N), "length": (B,) samples, "phones": (B, P)}.

  Phones are numbers, `phones.UNKNOWN` beyond the end of a recording and where
  nothing is known of it.

  Args:
    config: see `AudioSource`.
    sample_rate: of the batches, in Hz.
    phones_file: of `soundstorm_jax.semantic.align`; all is unknown if empty.
    **kwargs: see `AudioSource`.

  Raises:
    ValueError: see `AudioSource` and `read_phones`, or no training recording
      has phones.
  """

  def __init__(
    self,
    config: DataConfig,
    sample_rate: int,
    *,
    phones_file: str,
    **kwargs: Any,
  ):
    super().__init__(config, sample_rate, **kwargs)
    self._step = sample_rate // phones.STEPS_PER_SECOND
    self._steps = -(-self.window // self._step)
    self._phones = phones.read_phones(phones_file) if phones_file else {}
    if phones_file and not any(f.id in self._phones for f in self.train_files):
      raise ValueError(f"{phones_file} has no recording of {config.path}")

  def _signature(self) -> dict[str, tf.TensorSpec]:
    return super()._signature() | {
      "length": tf.TensorSpec([], tf.int32),
      "phones": tf.TensorSpec([self._steps], tf.int32),
    }

  def _example(self, file: AudioFile, start: int) -> dict[str, np.ndarray]:
    audio = self._crop(file.path, start)
    known = self._phones.get(file.id, np.zeros(0, np.int8))
    first = round(start / self._step)
    known = known[first : first + -(-audio.size // self._step)]
    numbers = np.full(self._steps, phones.UNKNOWN, np.int32)
    numbers[: known.size] = known[: self._steps]
    return {
      "audio": np.pad(audio, (0, self.window - audio.size)),
      "length": np.int32(audio.size),
      "phones": numbers,
    }
