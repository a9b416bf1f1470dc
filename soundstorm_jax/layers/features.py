"""Spectral features of audio in JAX: frames, STFT, mel spectrograms.

Pure functions, differentiable, shared by the codec's losses, the semantic
tokenizer and the plots.

Axis letters: B batch, N samples, F spectral frames, W window, K bins, M mels.
"""

import functools

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float


@functools.lru_cache(maxsize=64)
def mel_filterbank(
  *,
  window: int,
  mels: int,
  sample_rate: int,
  low: float = 0.0,
  high: float | None = None,
) -> Float[np.ndarray, "K M"]:
  """Triangular filters, evenly spaced on the HTK mel scale, peaking at 1.

  Args:
    window: FFT size; there are window // 2 + 1 bins.
    mels: number of filters.
    sample_rate: Hz.
    low: lowest edge in Hz.
    high: highest edge in Hz; half the sample rate by default.

  Raises:
    ValueError: the edges are not 0 <= low < high <= sample_rate / 2.
  """
  high = sample_rate / 2 if high is None else high
  if not 0 <= low < high <= sample_rate / 2:
    raise ValueError(
      f"mel edges must satisfy 0 <= low < high <= {sample_rate / 2}, got "
      f"low={low}, high={high}"
    )

  def to_mel(hz):
    return 2595.0 * np.log10(1.0 + hz / 700.0)

  mel_edges = np.linspace(to_mel(low), to_mel(high), mels + 2)
  edges = 700.0 * (10.0 ** (mel_edges / 2595.0) - 1.0)
  bins = np.arange(window // 2 + 1) * sample_rate / window
  filters = triangles(edges, bins)
  # A short window has filters that fall between two bins. Each takes the
  # nearest bin instead of staying empty, which would make its log constant.
  for mel in np.flatnonzero(filters.sum(axis=0) < 1e-3):
    nearest = np.argmin(np.abs(bins - edges[mel + 1]))
    filters[nearest, mel] = 1.0
  return filters.astype(np.float32)


def triangles(
  edges: Float[np.ndarray, "E"], bins: Float[np.ndarray, "K"]
) -> Float[np.ndarray, "K M"]:
  """M = E - 2 filters: each rises from an edge to the next and falls again."""
  rise = (bins[:, None] - edges[:-2]) / (edges[1:-1] - edges[:-2])
  fall = (edges[2:] - bins[:, None]) / (edges[2:] - edges[1:-1])
  return np.maximum(0.0, np.minimum(rise, fall))


def frame(
  audio: Float[Array, "B N"], *, window: int, hop: int
) -> Float[Array, "B F {window}"]:
  """Overlapping frames, without padding: F = 1 + (N - window) // hop.

  Raises:
    ValueError: the audio is shorter than one window.
  """
  samples = audio.shape[1]
  if samples < window:
    raise ValueError(f"audio has {samples} samples, fewer than one {window=}")
  count = 1 + (samples - window) // hop
  if window % hop:
    index = np.arange(count)[:, None] * hop + np.arange(window)
    return audio[:, index]
  # Slices instead of a gather, whose gradient would be a slow scatter.
  blocks = window // hop
  used = audio[:, : (count + blocks - 1) * hop]
  hops = used.reshape(audio.shape[0], count + blocks - 1, hop)
  return jnp.concatenate(
    [hops[:, i : i + count] for i in range(blocks)], axis=-1
  )


def hann(window: int) -> Float[np.ndarray, "W"]:
  """The periodic Hann window, in double precision."""
  return 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window) / window)


def power(spectrum: Complex[Array, "..."]) -> Float[Array, "..."]:
  """Squared magnitudes, with a gradient at zero."""
  return jnp.square(spectrum.real) + jnp.square(spectrum.imag)


def stft(
  audio: Float[Array, "B N"], *, window: int, hop: int
) -> Complex[Array, "B F K"]:
  """Short-time Fourier transform with a periodic Hann window, unpadded."""
  frames = frame(audio, window=window, hop=hop)
  return jnp.fft.rfft(frames * hann(window).astype(np.float32), axis=-1)


def magnitudes(
  audio: Float[Array, "B N"], *, window: int, hop: int
) -> Float[Array, "B F K"]:
  """Magnitudes over time and frequency, of a unit-amplitude scale.

  They are divided by the window's sum, so that a window's length does not
  change their size.
  """
  spectrum = stft(audio, window=window, hop=hop) * (2.0 / window)
  # The square root has no finite gradient at zero, and silence is common.
  return jnp.sqrt(power(spectrum) + 1e-12)


def compressed_spectrum(
  audio: Float[Array, "B N"], *, window: int, hop: int
) -> Float[Array, "B F C"]:
  """Real parts, then imaginary ones, of magnitudes to the power of 0.3.

  C is twice the number of bins.
  """
  spectrum = stft(audio, window=window, hop=hop) * (2.0 / window)
  # -100 dB of full scale: what is softer keeps its proportions.
  scale = (power(spectrum) + 1e-10) ** -0.35
  return jnp.concatenate(
    [spectrum.real * scale, spectrum.imag * scale], axis=-1
  )


def mel_spectrogram(
  audio: Float[Array, "B N"],
  *,
  sample_rate: int,
  window: int,
  hop: int,
  mels: int,
) -> Float[Array, "B F M"]:
  """Magnitudes on the mel scale; see `magnitudes`."""
  magnitude = magnitudes(audio, window=window, hop=hop)
  filters = mel_filterbank(window=window, mels=mels, sample_rate=sample_rate)
  return magnitude @ filters
