"""Windows of audio for codec training, by integer position.

A position (see positions.py) names a segment of a recording, see
`audio_folder.py`; the window starts at a random place within it.

Axes: B batch, N samples of a window.
"""

from collections.abc import Iterator

import numpy as np
import tensorflow as tf
from jaxtyping import Float

from soundstorm_jax.data import pipeline
from soundstorm_jax.data.audio_folder import AudioFolder


class AudioSource(AudioFolder):
  """Batches of fixed-length windows from folders of audio.

  The held-out speakers of the config are evaluated on, and never trained on.
  Arguments and errors are `AudioFolder`'s.
  """

  def train_batches(
    self, start_step: int = 0
  ) -> Iterator[dict[str, Float[np.ndarray, "B N"]]]:
    """Endless batches {'audio': (rows of this host, N) float32}.

    Utterances shorter than the window are followed by zeros.

    Args:
      start_step: batches to pass over; costs nothing.
    """

    def plan(position: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
      entry = pipeline.shuffled_index(
        position, size=self.examples_per_epoch, seed=self._seed
      )
      return entry, pipeline.uniform(position, 1, seed=self._seed)[0]

    return pipeline.train_batches(
      self._load,
      plan,
      self._signature(),
      hosts=self._hosts,
      start_step=start_step,
      workers=self._config.workers,
    )

  def _load(self, entry: np.int64, fraction: np.float64) -> dict:
    return self._example(*self._locate(int(entry), float(fraction)))

  def _signature(self) -> dict[str, tf.TensorSpec]:
    """Shape and type of each array of `_example`."""
    return {"audio": tf.TensorSpec([self.window], tf.float32)}
