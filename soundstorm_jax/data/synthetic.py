"""What every synthesiser's speech is brought to before it is saved.

Axes: N samples.
"""

import numpy as np
import soxr
from jaxtyping import Float

SAMPLE_RATE = 16000
_RMS = 10 ** (-23 / 20)
_PEAK = 0.95
_PAD_SECONDS = 0.15


def finish(audio: Float[np.ndarray, "N"], *, rate: int) -> np.ndarray:
  """(N,) at `rate` to (N',) at `SAMPLE_RATE`: even pauses, even loudness.

  Raises:
    ValueError: nothing is heard in `audio`.
  """
  audio = soxr.resample(audio, rate, SAMPLE_RATE, quality="VHQ")
  loudest = np.abs(audio).max(initial=0.0)
  if not loudest > 0:
    raise ValueError(f"the synthesiser made {len(audio)} silent samples")
  loud = np.flatnonzero(np.abs(audio) > 0.02 * loudest)
  pad = round(_PAD_SECONDS * SAMPLE_RATE)
  audio = audio[max(loud[0] - pad, 0) : loud[-1] + pad]
  audio = audio - audio.mean()
  gain = _RMS / np.sqrt(np.mean(audio**2))
  gain = min(gain, _PEAK / np.abs(audio).max())
  fade = np.minimum(1.0, np.arange(len(audio)) / (pad / 3))
  return (audio * gain * fade * fade[::-1]).astype(np.float32)
