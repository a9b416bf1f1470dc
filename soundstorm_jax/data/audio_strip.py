"""Windows of audio, cut on the device.

All training recordings are decoded once, into one strip of 16-bit samples that
lies whole on every device: ten hours at 16 kHz are 1.2 GB. A position (see
positions.py) names a segment, which every epoch has once, and the window in
it: places are drawn as `AudioSource` draws them, from other random numbers.

Axes: N samples of a window, M samples of the strip, E segments.
"""

from collections.abc import Mapping
from concurrent import futures

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key, Shaped, UInt32

from soundstorm_jax.data.audio_files import read_audio, to_int16
from soundstorm_jax.data.audio_folder import AudioFolder
from soundstorm_jax.data.positions import shuffled

# Places are 32-bit numbers: 37 hours at 16 kHz.
_MOST_SAMPLES = 2**31 - 1


class AudioStrip(AudioFolder):
  """Audio windows of `AudioSource`'s kind; arguments and errors likewise."""

  def arrays(self) -> dict[str, Shaped[np.ndarray, "..."]]:
    """What `draw` reads: the strip, and by segment where its windows start.

    Raises:
      ValueError: the recordings are too long for one strip, or one cannot be
        read.
    """
    ends = np.cumsum(self._lengths)
    if ends[-1] + self.window > _MOST_SAMPLES:
      raise ValueError(
        f"recordings on the device must have at most "
        f"{_MOST_SAMPLES - self.window} samples, got {ends[-1]}; set "
        "data.on_device=False"
      )
    # A window that starts in the last recording may reach beyond it.
    strip = np.zeros(ends[-1] + self.window, np.int16)

    def decode(number: int) -> None:
      audio = read_audio(self.train_files[number].path, self._sample_rate)
      room = strip[ends[number] - self._lengths[number] : ends[number]]
      audio = to_int16(audio[: room.size])
      room[: audio.size] = audio

    with futures.ThreadPoolExecutor(self._config.workers) as pool:
      # A list, so that an error is not lost.
      list(pool.map(decode, range(len(self.train_files))))
    segments = np.diff(self._starts)
    file = np.repeat(np.arange(len(segments)), segments)
    segment = np.arange(len(file)) - self._starts[file]
    # The places where the windows of a file may start are shared out evenly.
    places = np.maximum(0, self._lengths - self.window)[file] + 1
    first = segment * places // segments[file]
    after = (segment + 1) * places // segments[file]
    begins = ends - self._lengths
    return {
      "audio": strip,
      "first": (begins[file] + first).astype(np.int32),
      "places": (after - first).astype(np.int32),
      "length": np.minimum(self._lengths, self.window)[file].astype(np.int32),
    }

  def draw(
    self,
    arrays: Mapping[str, Shaped[Array, "..."]],
    position: UInt32[Array, ""],
    *,
    key: Key[Array, ""],
  ) -> dict[str, Float[Array, " N"]]:
    """The example at a global position; pure.

    Args:
      arrays: those of `arrays`, on the device.
      position: global; see `positions.py`.
      key: of the whole run.

    Returns:
      {'audio': (N,) float32}, zeros after the end of a recording.
    """
    order_key, place_key = jax.random.split(key)
    entry = shuffled(position, self.examples_per_epoch, key=order_key)
    start = arrays["first"][entry] + jax.random.randint(
      jax.random.fold_in(place_key, position), (), 0, arrays["places"][entry]
    )
    audio = jax.lax.dynamic_slice_in_dim(arrays["audio"], start, self.window)
    inside = jnp.arange(self.window) < arrays["length"][entry]
    return {"audio": jnp.where(inside, audio, 0).astype(jnp.float32) / 32767}
