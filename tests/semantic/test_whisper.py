"""Whisper's encoder beside a slow one in NumPy, and what it does not hear."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import erf

from soundstorm_jax.layers import features
from soundstorm_jax.semantic import network, whisper
from soundstorm_jax.semantic.config import SemanticEncoderConfig, WhisperConfig

CONFIG = WhisperConfig(layers=2, dim=12, heads=3)


def normal(*shape, seed=0):
  return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def random_params(config=CONFIG, mels=10, seed=1):
  """Parameters that are nowhere 0, so that none can be left out unseen."""
  model = whisper.WhisperEncoder(config)
  frame = jnp.zeros((1, 2, mels))
  params = model.init(jax.random.key(0), frame, jnp.ones((1, 2), bool))
  rng = np.random.default_rng(seed)
  return jax.tree.map(
    lambda x: (0.4 * rng.normal(size=x.shape)).astype(np.float32),
    params["params"],
  )


def gelu(x):
  return 0.5 * x * (1 + erf(x / np.sqrt(2)))


def norm(x, params):
  centred = x - x.mean(-1, keepdims=True)
  scaled = centred / np.sqrt(np.square(centred).mean(-1, keepdims=True) + 1e-5)
  return scaled * params["scale"] + params["bias"]


def linear(x, params):
  return x @ params["kernel"] + params["bias"]


def slow_encoder(mel, params, config):
  """One recording, (P, M), frame by frame."""

  def convolve(x, params, stride):
    padded = np.pad(x, ((1, 1), (0, 0)))
    return (
      np.stack(
        [
          sum(padded[t + i] @ params["kernel"][i] for i in range(3))
          for t in range(0, len(x), stride)
        ]
      )
      + params["bias"]
    )

  x = gelu(convolve(mel, params["conv1"], 1))
  x = gelu(convolve(x, params["conv2"], 2))
  half = config.dim // 2
  for t in range(len(x)):
    for k in range(half):
      angle = t / 10000 ** (k / (half - 1))
      x[t, k] += np.sin(angle)
      x[t, half + k] += np.cos(angle)
  width = config.dim // config.heads
  for layer in range(config.layers):
    block = params[f"layer_{layer}"]
    y = linear(norm(x, block["attention_norm"]), block["qkv"])
    out = np.zeros_like(x)
    for head in range(config.heads):
      query, key, value = (
        y[:, part * config.dim + head * width :][:, :width] for part in range(3)
      )
      scores = np.exp(query @ key.T / np.sqrt(width))
      weights = scores / scores.sum(-1, keepdims=True)
      out[:, head * width : (head + 1) * width] = weights @ value
    x = x + linear(out, block["out"])
    y = gelu(linear(norm(x, block["ff_norm"]), block["expand"]))
    x = x + linear(y, block["project"])
  return norm(x, params["norm"])


def test_it_is_the_slow_encoder():
  params, mel = random_params(), normal(2, 14, 10)
  found = whisper.WhisperEncoder(CONFIG).apply(
    {"params": params}, jnp.asarray(mel), jnp.ones((2, 14), bool)
  )
  assert found.shape == (2, 7, 12)
  for row in range(2):
    np.testing.assert_allclose(
      found[row], slow_encoder(mel[row], params, CONFIG), atol=1e-4
    )


@pytest.mark.parametrize("frames", [8, 7])
def test_padding_changes_no_feature(frames):
  params, mel = random_params(), normal(1, 14, 10)
  valid = jnp.arange(14)[None] < frames
  mel = whisper.normalise(jnp.asarray(mel), valid)
  apply = whisper.WhisperEncoder(CONFIG).apply
  long = apply({"params": params}, mel, valid)
  short = apply({"params": params}, mel[:, :8], valid[:, :8])
  np.testing.assert_allclose(long[:, :4], short, atol=1e-5)


def test_frames_are_even_in_number():
  with pytest.raises(ValueError, match="even in number, got 3"):
    whisper.WhisperEncoder(CONFIG).init(
      jax.random.key(0), jnp.zeros((1, 3, 10)), jnp.ones((1, 3), bool)
    )


def test_a_tone_is_loudest_at_its_channel():
  time = np.arange(16000) / 16000
  tone = np.sin(2 * np.pi * 1000 * time)[None].astype(np.float32)
  magnitudes = features.magnitudes(jnp.asarray(tone), window=400, hop=160)
  mel = whisper.log_mel(magnitudes, mels=80, sample_rate=16000)
  # 1 kHz is the 15th of 45.2 mels, and 80 channels lie between 81 steps.
  assert set(np.asarray(mel[0]).argmax(-1)) <= {25, 26}
  # Power of the sine under its window, by the definition of the transform.
  spectrum = np.fft.rfft(tone[0, :400] * features.hann(400))
  filters = whisper._filters(window=400, mels=80, sample_rate=16000)
  expected = np.log10(np.maximum(np.abs(spectrum) ** 2 @ filters, 1e-10))
  # `magnitudes` has a floor of its own.
  loud = expected > -6
  np.testing.assert_allclose(mel[0, 0][loud], expected[loud], atol=1e-2)


def test_normalised_frames_are_within_eight_powers_of_ten():
  mel = 5 * normal(1, 20, 4)
  valid = jnp.arange(20)[None] < 15
  mel[:, 15:] += 50  # Padding is not what is loudest.
  found = np.asarray(whisper.normalise(jnp.asarray(mel), valid))
  top = mel[:, :15].max()
  np.testing.assert_allclose(
    found[:, :15], (np.maximum(mel[:, :15], top - 8) + 4) / 4, rtol=1e-5
  )
  assert not found[:, 15:].any()
  silent = whisper.normalise(jnp.asarray(mel), jnp.zeros((1, 20), bool))
  assert not np.asarray(silent).any()


def test_the_conformer_hears_two_frames_a_token():
  encoder = SemanticEncoderConfig(mels=10, whisper=CONFIG)
  params = random_params()
  audio = 0.1 * normal(1, 6400)
  magnitudes = network.spectrum(
    jnp.asarray(audio), jnp.array([6400]), config=encoder
  )
  assert magnitudes.shape == (1, 40, 201)
  listener = network.Listener(encoder, params)
  valid = jnp.ones((1, 40), bool)
  mel = listener.normalise(listener.log_mel(magnitudes), valid)
  frames = listener.frames(mel, valid)
  assert frames.shape == (1, 10, listener.channels) == (1, 10, 24)
  heard = slow_encoder(np.asarray(mel[0]), params, CONFIG)
  heard = heard - heard.mean(0)
  heard = heard / heard.std()
  np.testing.assert_allclose(
    frames[0], heard.reshape(10, 24), rtol=1e-3, atol=1e-3
  )


def test_long_recordings_are_heard_in_windows_of_half_a_minute():
  mel, params = normal(2, 6200, 10), random_params()
  valid = jnp.arange(6200) < jnp.array([[6150], [2900]])
  mel = whisper.normalise(jnp.asarray(mel), valid)
  found = whisper.encode(params, mel, valid, config=CONFIG)
  assert found.shape == (2, 3100, 12)

  def alone(row, start, frames=3000):
    part = slice(start, start + frames)
    padding = max(0, start + frames - 6200)
    return whisper.WhisperEncoder(CONFIG).apply(
      {"params": params},
      jnp.pad(mel[row : row + 1, part], ((0, 0), (0, padding), (0, 0))),
      jnp.pad(valid[row : row + 1, part], ((0, 0), (0, padding))),
    )[0]

  # Windows begin at 0, 20 and 40 s; the seams are at 25 and 45 s.
  for start, first, end in (
    (0, 0, 1250),
    (2000, 1250, 2250),
    (4000, 2250, 3075),
  ):
    np.testing.assert_allclose(
      found[0, first:end],
      alone(0, start)[first - start // 2 : end - start // 2],
      atol=1e-4,
    )
  # A short one in the same batch is heard at once.
  np.testing.assert_allclose(
    found[1, :1450], alone(1, 0, 2900)[:1450], atol=1e-4
  )
