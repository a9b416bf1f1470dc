"""The source-filter codec: causality, its signals, and a voice told again."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from soundstorm_jax.config import SoundStreamConfig
from soundstorm_jax.models import source_filter
from soundstorm_jax.models.codec import Codec
from soundstorm_jax.models.soundstream import SoundStream

CONFIG = SoundStreamConfig(
  source_filter=True, dim=26, decoder_channels=4, levels=2, codes=8
)
HOP = CONFIG.hop


@pytest.fixture(scope="module")
def params():
  model = SoundStream(CONFIG)
  variables = jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, 4 * HOP)))
  return nn.unbox(variables["params"])


def _vowel(*, hertz, seconds):
  """Harmonics under one broad peak at 600 Hz, then a hiss."""
  time = np.arange(round(seconds * 16_000)) / 16_000
  wave = sum(
    np.cos(2 * np.pi * hertz * k * time + k * k)
    / (1 + ((hertz * k - 600) / 300) ** 2)
    for k in range(1, int(7900 / hertz))
  )
  hiss = np.random.default_rng(0).normal(size=len(time))
  return np.concatenate([0.1 * wave, 0.05 * hiss]).astype(np.float32)[None]


def test_pulses_are_the_sum_of_their_cosines():
  hertz = np.array([[150.0] * 10 + [230.0] * 10])
  made = source_filter.pulses(
    jnp.asarray(hertz, jnp.float32), sample_rate=16_000, hop=80
  )
  steps = np.repeat(hertz[0], 80) / 16_000
  phase = np.cumsum(steps) - steps
  count = np.repeat(np.floor(8000 / hertz[0]), 80)
  slow = np.zeros(len(phase))
  for k in range(1, int(count.max()) + 1):
    slow += np.where(k <= count, np.cos(2 * np.pi * k * phase), 0.0)
  slow *= np.sqrt(2 / count)
  np.testing.assert_allclose(made[0], slow, atol=0.05)
  assert float(jnp.mean(jnp.square(made))) == pytest.approx(1.0, rel=0.03)


def test_breath_is_white_and_does_not_depend_on_its_length():
  long = np.asarray(source_filter.breath(50, HOP))
  np.testing.assert_array_equal(
    source_filter.breath(20, HOP), long[:, : 20 * HOP]
  )
  assert long.std() == pytest.approx(1.0, rel=0.02)
  assert np.mean(long[:, 1:] * long[:, :-1]) == pytest.approx(0, abs=0.03)


def test_decoder_is_causal(params):
  model = SoundStream(CONFIG)
  random = np.random.default_rng(0)
  latents = random.normal(size=(1, 12, 26)).astype(np.float32)
  # The network's last layer is zero at first, and would hide a fault.
  bent = jax.tree.map(
    lambda x: x + 0.1 * random.normal(size=x.shape).astype(np.float32), params
  )
  decode = jax.jit(lambda z: model.apply({"params": bent}, z, method="decode"))
  whole = decode(jnp.asarray(latents))
  other = decode(
    jnp.concatenate([latents[:, :7], latents[:, :5] + 1.0], axis=1)
  )
  np.testing.assert_allclose(
    other[:, : 7 * HOP], whole[:, : 7 * HOP], rtol=1e-3, atol=1e-4
  )
  assert float(jnp.abs(other - whole)[:, 7 * HOP :].max()) > 1e-3


def test_silence_behind_changes_no_latent_before_it():
  audio = _vowel(hertz=120.0, seconds=0.2)
  alone = source_filter.analyse(CONFIG, jnp.asarray(audio))
  padded = source_filter.analyse(CONFIG, jnp.pad(audio, ((0, 0), (0, 9 * HOP))))
  np.testing.assert_allclose(padded[:, : alone.shape[1]], alone, atol=1e-4)


def test_untrained_it_tells_a_voice_again(params):
  audio = _vowel(hertz=140.0, seconds=0.4)
  model = SoundStream(CONFIG)
  made = np.asarray(
    jax.jit(lambda a: model.apply({"params": params}, a))(audio)
  )
  assert made.shape == audio.shape
  half = audio.shape[1] // 2
  for part in (slice(2000, half - 2000), slice(half + 2000, -2000)):
    want = np.sqrt(np.mean(audio[0, part] ** 2))
    assert np.sqrt(np.mean(made[0, part] ** 2)) == pytest.approx(want, rel=0.3)
  # Harmonics of 140 Hz in the vowel and not in the hiss.
  spectrum = np.abs(np.fft.rfft(made[0, 2000 : half - 2000]))
  hertz = np.fft.rfftfreq(half - 4000, 1 / 16_000)
  on = np.abs(hertz / 140 - np.round(hertz / 140)) < 0.15
  band = (hertz > 300) & (hertz < 1200)
  assert spectrum[on & band].max() > 8 * np.median(spectrum[~on & band])


def test_latents_hold_power_pitch_and_voicing():
  audio = _vowel(hertz=140.0, seconds=0.4)
  latents = np.asarray(source_filter.analyse(CONFIG, jnp.asarray(audio)))[0]
  vowel, hiss = latents[4:16], latents[24:36]
  np.testing.assert_allclose(vowel[:, -1], 4.0)
  np.testing.assert_allclose(hiss[:, -1], 0.0)
  np.testing.assert_allclose(hiss[:, -2], 0.0)
  told = source_filter.controls(jnp.asarray(vowel[None]))
  np.testing.assert_allclose(told.hertz, 140.0, rtol=0.02)
  # The hiss has variance 0.05 ** 2 at all frequencies.
  assert hiss[:, :-2].mean() == pytest.approx(np.log(0.05**2), abs=0.3)


def test_codec_keeps_its_promises_with_it(params):
  codec = Codec(
    CONFIG,
    params=params,
    codebooks=jax.random.normal(jax.random.key(0), (2, 8, 26)),
  )
  audio = _vowel(hertz=140.0, seconds=0.1)[:, :-100]
  tokens = codec.encode(jnp.asarray(audio))
  assert tokens.shape == (1, 10, 2)
  assert codec.decode(tokens[..., :1]).shape == (1, 10 * HOP)


def test_impossible_sizes_are_refused():
  with pytest.raises(ValueError, match=r"dim with source_filter.*at least 4"):
    SoundStreamConfig(source_filter=True, dim=3)
  with pytest.raises(ValueError, match="four spectra share a hop, got 10"):
    SoundStreamConfig(source_filter=True, strides=(2, 5))


def test_a_voice_is_changed_as_it_would_be_by_hand():
  bands = CONFIG.dim - 2
  rng = np.random.default_rng(1)
  latents = rng.normal(size=(2, 3, CONFIG.dim)).astype(np.float32)
  latents[:, :, -1] = [[4.0, 0.0, 4.0], [4.0, 4.0, 0.0]]
  latents[:, :, -2] = 0.8 * latents[:, :, -1] / 4
  formants, factor = np.array([1.1, 0.9]), np.array([1.2, 0.8])
  balance = rng.normal(size=(2, 3))
  changed = source_filter.change_voice(
    CONFIG,
    jnp.asarray(latents),
    source_filter.VoiceChange(*map(jnp.asarray, (formants, factor, balance))),
  )
  centres = source_filter._band_centres(CONFIG)
  for row in range(2):
    for frame in range(3):
      told = latents[row, frame]
      for m in range(bands):
        power = np.interp(centres[m] / formants[row], centres, told[:-2])
        for w in range(3):
          power += balance[row, w] * np.cos(np.pi * (w + 1) * m / (bands - 1))
        assert changed[row, frame, m] == pytest.approx(power, abs=1e-3)
      voiced = told[-1] / 4
      octaves = voiced * (0.1 + np.log2(factor[row]))
      assert changed[row, frame, -2] == pytest.approx(8 * octaves, abs=1e-4)
      assert changed[row, frame, -1] == told[-1]


def test_a_changed_pitch_stays_within_reach():
  latents = np.zeros((1, 2, CONFIG.dim), np.float32)
  latents[:, 0, -1] = 4.0
  changes = [
    source_filter.VoiceChange(
      jnp.ones(1), jnp.full(1, factor), jnp.zeros((1, 1))
    )
    for factor in (1 / 8, 8.0)
  ]
  low, high = (
    source_filter.change_voice(CONFIG, jnp.asarray(latents), change)
    for change in changes
  )
  told = [float(source_filter.controls(x).hertz[0, 0]) for x in (low, high)]
  np.testing.assert_allclose(told, [60.0, 411.0], rtol=0.01)
  # Where there is no voice there is no pitch to change.
  assert low[0, 1, -2] == high[0, 1, -2] == 0
