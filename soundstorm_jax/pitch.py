"""The pitch of a voice over time, by autocorrelation and a best path.

Each frame's normalized autocorrelation is scored at a fixed set of pitches;
the path through the frames that gains most, where leaps and changes between
voiced and unvoiced cost, is the pitch track (as in Talkin's RAPT, 1995).

Axis letters: B batch, N samples, T frames, P candidate pitches.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from soundstorm_jax.features import frame, hann, power

LOWEST_HERTZ = 60.0
_STEPS_PER_OCTAVE = 36
_CANDIDATES = 101
_WINDOW_SECONDS = 0.064

# Costs and gains in units of the autocorrelation, which is 1 for a periodic
# frame; chosen by ear of spectrograms, on training speakers.
_LEAP_PER_OCTAVE = 3.0
_LARGEST_LEAP = 1.2
_CHANGE_OF_VOICING = 0.35
_UNVOICED = 0.45
# Of two lags that fit alike the shorter is the period, the other its double.
_PER_OCTAVE_OF_LAG = 0.05


class Pitch(NamedTuple):
  """A pitch track.

  Attributes:
    octaves: base-2 logarithm of the pitch in hertz; meaningless if unvoiced.
    voiced: whether the frame has a pitch.
  """

  octaves: Float[Array, "B T"]
  voiced: Bool[Array, "B T"]


def candidates() -> Float[np.ndarray, "P"]:
  """The pitches considered, in hertz: 60 to 411, three to a semitone."""
  steps = np.arange(_CANDIDATES) / _STEPS_PER_OCTAVE
  return LOWEST_HERTZ * 2.0**steps


def centred_frames(
  audio: Float[Array, "B N"], *, window: int, hop: int, shift: int = 0
) -> Float[Array, "B T {window}"]:
  """Windows centred on each hop, or `shift` samples later, silence around.

  Raises:
    ValueError: the samples do not fill whole hops, or the window is shorter
      than a hop.
  """
  samples = audio.shape[1]
  if samples % hop:
    raise ValueError(f"{samples} samples do not fill whole hops of {hop}")
  if window < hop:
    raise ValueError(f"window={window} must be at least the hop {hop}")
  count = samples // hop
  before = (window - hop) // 2 - shift
  after = (count - 1) * hop + window - before - samples
  kept = audio[:, max(0, -before) : samples + min(0, after)]
  padding = (max(0, before), max(0, after))
  return frame(jnp.pad(kept, ((0, 0), padding)), window=window, hop=hop)


def periodicity(
  audio: Float[Array, "B N"], *, sample_rate: int, hop: int, shift: int = 0
) -> Float[Array, "B T P"]:
  """Autocorrelation at each candidate's period over that at zero, below 1.

  Args:
    audio: in [-1, 1]; N a multiple of the hop.
    sample_rate: in Hz.
    hop: samples per frame.
    shift: how many samples later than its hop a frame looks.

  Returns:
    Values per frame; 0 for frames whose window's middle hop is all zeros, so
    that silence added behind changes nothing before it.
  """
  window = round(_WINDOW_SECONDS * sample_rate)
  window += (window - hop) % 2
  frames = centred_frames(audio, window=window, hop=hop, shift=shift)
  middle = frames[..., (window - hop) // 2 : (window + hop) // 2]
  sounding = jnp.any(middle != 0, axis=-1, keepdims=True)
  frames -= jnp.mean(frames, axis=-1, keepdims=True)
  taper = hann(window)
  own = np.fft.irfft(np.abs(np.fft.rfft(taper, 2 * window)) ** 2)
  spectrum = jnp.fft.rfft(frames * taper.astype(np.float32), 2 * window)
  correlation = jnp.fft.irfft(power(spectrum))[..., :window]
  correlation /= correlation[..., :1] + 1e-6 * window
  correlation /= (own[:window] / own[0]).astype(np.float32)
  lag = sample_rate / candidates()
  below = np.floor(lag).astype(int)
  part = (lag - below).astype(np.float32)
  at_lag = correlation[..., below] * (1 - part)
  at_lag += correlation[..., below + 1] * part
  return jnp.where(sounding, at_lag, 0.0)


def track(periodicity: Float[Array, "B T P"]) -> Pitch:
  """The path of most gain, which ends in silence (Viterbi's algorithm)."""
  rows = periodicity.shape[0]
  hertz = candidates()
  lag_octaves = np.log2(hertz[-1] / hertz).astype(np.float32)
  gains = jnp.concatenate(
    [
      periodicity - _PER_OCTAVE_OF_LAG * lag_octaves,
      jnp.full((*periodicity.shape[:2], 1), _UNVOICED),
    ],
    axis=-1,
  )
  costs = transition_costs()

  def forward(best, gain):
    total = best[:, :, None] - costs
    return jnp.max(total, axis=1) + gain, jnp.argmax(total, axis=1)

  states = costs.shape[0]
  start = jnp.zeros((rows, states))
  best, came_from = jax.lax.scan(forward, start, jnp.moveaxis(gains, 1, 0))
  last = jnp.argmax(best - costs[:, -1], axis=-1)

  def backward(state, pointers):
    before = jnp.take_along_axis(pointers, state[:, None], axis=1)[:, 0]
    return before, state

  _, path = jax.lax.scan(backward, last, came_from, reverse=True)
  path = path.T
  octaves = np.log2(np.append(hertz, hertz[0])).astype(np.float32)
  return Pitch(octaves=jnp.asarray(octaves)[path], voiced=path < states - 1)


def transition_costs() -> Float[np.ndarray, "S S"]:
  """From each state to each: the candidates, and unvoiced as the last."""
  step = np.arange(_CANDIDATES) / _STEPS_PER_OCTAVE
  leaps = _LEAP_PER_OCTAVE * np.abs(step[:, None] - step)
  costs = np.full((_CANDIDATES + 1,) * 2, _CHANGE_OF_VOICING)
  costs[:-1, :-1] = np.minimum(leaps, _LARGEST_LEAP)
  costs[-1, -1] = 0.0
  return costs.astype(np.float32)
