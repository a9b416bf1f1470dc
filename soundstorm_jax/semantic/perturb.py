"""Perturbations of speech that leave what is said alone.

Speed, pitch and formants of a voice say nothing of the words: an encoder that
sees them changed at random cannot rely on them. All work on spectra over time,
so that they cost little. Bands of channels are hidden as in SpecAugment (arXiv
1904.08779, section 2).

Axes: B batch, N samples, P spectral frames, K bins, M mels.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key


def random_factor(
  key: Key[Array, ""], rows: int, *, largest: float
) -> Float[Array, "B"]:
  """Log-uniform between 1 / largest and largest."""
  limit = jnp.log(largest)
  return jnp.exp(jax.random.uniform(key, (rows,), minval=-limit, maxval=limit))


def scale_frequencies(
  spectrum: Float[Array, "B P K"], factor: Float[Array, "B"]
) -> Float[Array, "B P K"]:
  """Moves what is at bin k to bin factor * k, between bins linearly.

  Pitch and formants move together, as with a smaller or a larger speaker. What
  would come from above the last bin is that of the last bin.
  """
  bins = jnp.arange(spectrum.shape[-1])
  return _interpolate(spectrum, bins / factor[:, None], axis=-1)


def change_tempo(
  frames: Float[Array, "B P M"], factor: Float[Array, "B"]
) -> Float[Array, "B P M"]:
  """Frame p comes from place factor * p, between frames linearly."""
  places = jnp.arange(frames.shape[1])
  return _interpolate(frames, places * factor[:, None], axis=0)


def change_tempo_of_labels(
  labels: Int[Array, "B P"], factor: Float[Array, "B"]
) -> Int[Array, "B P"]:
  """Step p comes from the step nearest to factor * p."""
  steps = labels.shape[1]
  places = jnp.round(jnp.arange(steps) * factor[:, None]).astype(jnp.int32)
  return jnp.take_along_axis(labels, jnp.minimum(places, steps - 1), axis=1)


def add_noise(
  key: Key[Array, ""], audio: Float[Array, "B N"], *, least_snr: float
) -> Float[Array, "B N"]:
  """White noise, `least_snr` to `least_snr` + 40 dB below each row's level."""
  level_key, noise_key = jax.random.split(key)
  rows = audio.shape[0]
  decibels = least_snr + 40 * jax.random.uniform(level_key, (rows, 1))
  level = jnp.sqrt(jnp.mean(jnp.square(audio), axis=1, keepdims=True))
  noise = jax.random.normal(noise_key, audio.shape)
  return audio + noise * level * 10 ** (-decibels / 20)


def mel_mask(
  key: Key[Array, ""], rows: int, *, mels: int, masks: int, width: int
) -> Bool[Array, "B M"]:
  """The channels to hide: `masks` bands of up to `width` channels a row."""
  width_key, start_key = jax.random.split(key)
  widths = jax.random.randint(width_key, (rows, masks, 1), 0, width + 1)
  starts = jnp.floor(
    jax.random.uniform(start_key, (rows, masks, 1)) * (mels - widths + 1)
  )
  channels = jnp.arange(mels)
  hidden = (channels >= starts) & (channels < starts + widths)
  return hidden.any(axis=1)


def _interpolate(
  x: Float[Array, "B *X"], places: Float[Array, "B P"], *, axis: int
) -> Float[Array, "B *Y"]:
  """Each row's values at its places, between neighbours linearly.

  Args:
    x: values.
    places: along `axis`; outside of it stand the first and the last value.
    axis: of a row, 0 or -1, the last; it has P entries in the result.
  """

  def one(x, places):
    last = x.shape[axis] - 1
    places = jnp.clip(places, 0, last)
    low = jnp.floor(places).astype(jnp.int32)
    weight = places - low
    if axis == 0:
      weight = weight[:, None]
    lower = jnp.take(x, low, axis=axis)
    upper = jnp.take(x, jnp.minimum(low + 1, last), axis=axis)
    return lower + weight * (upper - lower)

  return jax.vmap(one)(x, places)
