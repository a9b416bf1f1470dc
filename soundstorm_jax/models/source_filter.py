"""A codec of what is heard of a voice: its spectrum, its pitch, its breath.

Not in the paper, whose codec needs days of an accelerator to learn what a
waveform is. The classic source and filter (Dudley 1939; neural in Wang et al.,
arXiv 1904.12088) knows it from the start. The encoder is fixed: the logarithm
of mel band powers, the pitch and whether there is one, each frame. The decoder
makes pulses of that pitch and noise, and shapes their spectra; a causal
convolutional network corrects how. No code spends a bit on phases, which
semantic tokens cannot tell, so even the coarsest levels carry the words.

The decoder is causal. The encoder looks ahead, to 1.5 frames after a frame's
start plus half a window, so that the decoder has what it needs.

Axis letters: B batch, N samples, T frames, D latent width, M mel bands (D - 2),
S spectra (4 T), K bins, C channels.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Float

from soundstorm_jax import pitch
from soundstorm_jax.config import SoundStreamConfig
from soundstorm_jax.features import (
  frame,
  half_waves,
  hann,
  interpolate,
  mel_filterbank,
  power,
)
from soundstorm_jax.models.convolutions import CausalConv, ResidualUnit, elu

# Spectra of the decoder per frame, and their windows' length in hops of theirs.
_SPECTRA = 4
_OVERLAP = 4

_WINDOW_SECONDS = 0.032
_POWER_FLOOR = 1e-6
# The latents' measure of likeness: an octave of pitch against 8 nats of one
# band's power, a voiced frame taken for an unvoiced one against 4.
_OCTAVE = 8.0
_VOICED = 4.0
_MIDDLE_OCTAVE = 7.3
# Above it a voice is mostly breath: where the network starts from.
_BREATH_HERTZ = 4000.0
_BREATH_WIDTH = 500.0


def analyse(
  config: SoundStreamConfig, audio: Float[Array, "B N"]
) -> Float[Array, "B T D"]:
  """The latents: M log powers, pitch in octaves about 158 Hz, voicing.

  Silence behind the audio changes nothing before it.
  """
  hop = config.hop
  window = round(_WINDOW_SECONDS * config.sample_rate)
  frames = pitch.centred_frames(audio, window=window, hop=hop, shift=hop)
  taper = hann(window)
  spectrum = jnp.fft.rfft(frames * taper.astype(np.float32))
  filters = mel_filterbank(
    window=window, mels=config.dim - 2, sample_rate=config.sample_rate
  )
  # Divided so that noise of variance 1 has power 1 in every band.
  filters = filters / filters.sum(axis=0) / np.square(taper).sum()
  bands = jnp.log(power(spectrum) @ filters.astype(np.float32) + _POWER_FLOOR)
  found = pitch.track(
    pitch.periodicity(audio, sample_rate=config.sample_rate, hop=hop, shift=hop)
  )
  voiced = found.voiced.astype(jnp.float32)
  octaves = (found.octaves - _MIDDLE_OCTAVE) * voiced
  rest = jnp.stack([_OCTAVE * octaves, _VOICED * voiced], axis=-1)
  return jnp.concatenate([bands, rest], axis=-1)


class VoiceChange(NamedTuple):
  """How a voice is changed, of each row.

  Attributes:
    formants: factor of the frequencies of the spectra, as of a shorter vocal
      tract.
    pitch: factor.
    balance: nats of power of cosines with 1, 2, ... half waves over the bands.
  """

  formants: Float[Array, " B"]
  pitch: Float[Array, " B"]
  balance: Float[Array, "B W"]


def change_voice(
  config: SoundStreamConfig,
  latents: Float[Array, "B T D"],
  change: VoiceChange,
) -> Float[Array, "B T D"]:
  """The latents that another speaker would have, saying the same.

  Between bands linearly; what would come from outside of them is that of the
  outermost. The pitch stays where `analyse` could find it.
  """
  centres = _band_centres(config)
  places = jnp.interp(
    centres / change.formants[:, None], centres, np.arange(len(centres))
  )
  moved = interpolate(latents[..., :-2], places, axis=-1)
  waves = half_waves(change.balance.shape[1], len(centres))
  moved += (change.balance @ waves.astype(np.float32))[:, None]
  voicing = latents[..., -1:] / _VOICED
  lowest, *_, highest = np.log2(pitch.candidates()) - _MIDDLE_OCTAVE
  octaves = latents[..., -2:-1] + (
    _OCTAVE * voicing * jnp.log2(change.pitch)[:, None, None]
  )
  limits = _OCTAVE * jnp.maximum(voicing, 0.0)
  octaves = jnp.clip(octaves, limits * lowest, limits * highest)
  return jnp.concatenate([moved, octaves, latents[..., -1:]], axis=-1)


class Controls(NamedTuple):
  """What the synthesis is told, four times a frame.

  Attributes:
    log_power: of M bands.
    hertz: pitch.
    voicing: from 0, breath only, to 1.
  """

  log_power: Float[Array, "B S M"]
  hertz: Float[Array, "B S"]
  voicing: Float[Array, "B S"]


def controls(latents: Float[Array, "B T D"]) -> Controls:
  """Between a frame and the one before, in quarters."""
  before = jnp.concatenate([latents[:, :1], latents[:, :-1]], axis=1)
  part = (np.arange(_SPECTRA, dtype=np.float32) / _SPECTRA)[:, None]
  mixed = before[:, :, None] * (1 - part) + latents[:, :, None] * part
  mixed = mixed.reshape(latents.shape[0], -1, latents.shape[-1])
  voicing = mixed[..., -1] / _VOICED
  # Pitch was weighted by voicing, so that unvoiced neighbours do not pull it.
  octaves = mixed[..., -2] / _OCTAVE / jnp.maximum(voicing, 0.25)
  octaves = jnp.clip(octaves, -1.6, 1.6) + _MIDDLE_OCTAVE
  return Controls(
    log_power=mixed[..., :-2],
    hertz=jnp.exp2(octaves),
    voicing=jnp.clip(voicing, 0.0, 1.0),
  )


def pulses(
  hertz: Float[Array, "B S"], *, sample_rate: int, hop: int
) -> Float[Array, "B N"]:
  """Equal cosines at all multiples of the pitch, of power 1 in all.

  Their sum has a closed form, Dirichlet's kernel. N = S * hop.
  """
  steps = hertz / sample_rate
  # Whole cycles do not count; left in, they would cost the sum its precision.
  turns = jnp.cumsum((steps * hop) % 1.0, axis=1)
  start = jnp.pad(turns, ((0, 0), (1, 0)))[:, :-1]
  phase = (start[..., None] + steps[..., None] * jnp.arange(hop)) % 1.0
  number = jnp.floor(0.5 * sample_rate / hertz)[..., None]
  # At a pulse both sines vanish; a hair beside it their quotient is right.
  half = jnp.pi * jnp.where(phase < 1e-4, 1e-4, phase)
  kernel = jnp.sin((2 * number + 1) * half) / jnp.sin(half) - 1.0
  wave = kernel / jnp.sqrt(2.0 * number)
  return wave.reshape(hertz.shape[0], -1)


def breath(frames: int, hop: int) -> Float[Array, "1 N"]:
  """White noise of power 1, always the same and whatever follows it."""
  keys = jax.vmap(lambda t: jax.random.fold_in(jax.random.key(0), t))(
    jnp.arange(frames)
  )
  return jax.vmap(lambda key: jax.random.normal(key, (hop,)))(keys).reshape(
    1, -1
  )


class Shaper(nn.Module):
  """The network: latents (B, T, D) to corrections (B, S, 2, M) in nats.

  Zero at first; of pulses and of noise, in the bands of the latents.
  """

  config: SoundStreamConfig

  @nn.compact
  def __call__(self, latents: Float[Array, "B T D"]) -> Array:
    config = self.config
    bands = config.dim - 2
    # About the mean and spread that log powers of speech have.
    x = jnp.concatenate(
      [(latents[..., :-2] + 8.0) / 3.0, latents[..., -2:] / _VOICED], axis=-1
    )
    x = CausalConv(config.decoder_channels, 3, dtype=config.dtype)(x)
    for dilation in (1, 3, 9, 1):
      x = ResidualUnit(dilation, dtype=config.dtype)(x)
    x = CausalConv(
      _SPECTRA * 2 * bands, 1, start_at_zero=True, dtype=config.dtype
    )(elu(x))
    return x.astype(jnp.float32).reshape(
      x.shape[0], x.shape[1] * _SPECTRA, 2, bands
    )


class SourceFilterDecoder(nn.Module):
  """Latents (B, T, D) to audio (B, T * hop)."""

  config: SoundStreamConfig

  @nn.compact
  def __call__(self, latents: Float[Array, "B T D"]) -> Float[Array, "B N"]:
    config = self.config
    frames = latents.shape[1]
    told = controls(latents)
    corrections = Shaper(config)(latents)
    hop = config.hop // _SPECTRA
    window = _OVERLAP * hop
    to_bins = _bands_to_bins(config, window)
    hertz = np.fft.rfftfreq(window, 1 / config.sample_rate)
    clear = nn.sigmoid((_BREATH_HERTZ - hertz) / _BREATH_WIDTH)
    clear = told.voicing[..., None] * clear
    level = told.log_power @ to_bins
    gains = {
      "pulses": level + jnp.log(clear + 1e-4),
      "breath": level + jnp.log(1.0 - clear + 1e-4),
    }
    sources = {
      "pulses": pulses(told.hertz, sample_rate=config.sample_rate, hop=hop),
      "breath": breath(frames, config.hop),
    }
    shape = np.sqrt(hann(window)).astype(np.float32)
    made = 0.0
    for index, name in enumerate(("pulses", "breath")):
      spectrum = jnp.fft.rfft(_windows(sources[name], window, hop) * shape)
      log_gain = 0.5 * gains[name] + corrections[:, :, index] @ to_bins
      made += spectrum * jnp.exp(jnp.minimum(log_gain, 5.0))
    pieces = jnp.fft.irfft(made, window) * (shape / (_OVERLAP / 2))
    return _overlap_add(pieces, hop)


def _windows(source, window, hop):
  """Windows that begin on each hop, the last ones in part over silence."""
  padded = jnp.pad(source, ((0, 0), (0, window - hop)))
  return frame(padded, window=window, hop=hop)


def _overlap_add(pieces, hop):
  """(B, S, W) to (B, S * hop), each piece from its own hop on."""
  rows, count, window = pieces.shape
  blocks = pieces.reshape(rows, count, window // hop, hop)
  total = sum(
    jnp.pad(blocks[:, : count - late, late], ((0, 0), (late, 0), (0, 0)))
    for late in range(window // hop)
  )
  return total.reshape(rows, -1)


@functools.lru_cache(maxsize=8)
def _bands_to_bins(
  config: SoundStreamConfig, window: int
) -> Float[np.ndarray, "M K"]:
  """Straight lines between the bands' centres."""
  hertz = np.fft.rfftfreq(window, 1 / config.sample_rate)
  centres = _band_centres(config)
  lines = [np.interp(hertz, centres, row) for row in np.eye(len(centres))]
  return np.stack(lines).astype(np.float32)


@functools.lru_cache(maxsize=8)
def _band_centres(config: SoundStreamConfig) -> Float[np.ndarray, " M"]:
  """In Hz."""
  size = round(_WINDOW_SECONDS * config.sample_rate)
  filters = mel_filterbank(
    window=size, mels=config.dim - 2, sample_rate=config.sample_rate
  )
  hertz = np.fft.rfftfreq(size, 1 / config.sample_rate)
  return hertz @ filters / filters.sum(axis=0)
