"""Examples in other voices, without their audio."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from soundstorm_jax.config import SoundStreamConfig, TrainConfig
from soundstorm_jax.models import quantizer
from soundstorm_jax.models.codec import Codec
from soundstorm_jax.models.source_filter import change_voice
from soundstorm_jax.training.soundstorm_task import SoundStormTask
from soundstorm_jax.training.voices import change_voices, draw_change
from tests.training.shared import write_codec

LEVELS, CODES, ROWS = 3, 64, 40
CONFIG = SoundStreamConfig(
  source_filter=True, dim=10, decoder_channels=4, levels=LEVELS, codes=CODES
)


@pytest.fixture(scope="module")
def codec():
  scale = np.array([3.0, 1.0, 0.3])[:, None, None]
  books = np.random.default_rng(0).normal(size=(LEVELS, CODES, CONFIG.dim))
  return Codec(CONFIG, params={}, codebooks=jnp.asarray(scale * books))


def test_a_share_of_the_rows_is_heard_in_another_voice(codec):
  tokens = jax.random.randint(jax.random.key(1), (ROWS, 6, LEVELS), 0, CODES)
  key = jax.random.key(2)
  heard = change_voices(tokens, codec=codec, key=key, share=0.5)
  assert heard.dtype == tokens.dtype
  changed = np.asarray(heard != tokens).any((1, 2))
  assert 0.25 < changed.mean() < 0.75
  every = change_voices(tokens, codec=codec, key=key, share=1.0)
  np.testing.assert_array_equal(heard[changed], every[changed])
  none = change_voices(tokens, codec=codec, key=key, share=0.0)
  np.testing.assert_array_equal(none, tokens)
  # One level after the other, the code that is nearest to what is left.
  change = draw_change(jax.random.split(key)[1], ROWS)
  left = change_voice(
    CONFIG, quantizer.dequantize(tokens, codec.codebooks), change
  )
  left = np.array(left)
  for level in range(LEVELS):
    book = np.asarray(codec.codebooks[level])
    distance = np.square(left[:, :, None] - book).sum(-1)
    codes = distance.argmin(-1)
    assert (codes == every[:, :, level]).mean() > 0.99
    left -= book[np.asarray(every[:, :, level])]


def test_fewer_levels_than_the_codecs(codec):
  tokens = jnp.zeros((2, 5, LEVELS - 1), jnp.int32)
  heard = change_voices(tokens, codec=codec, key=jax.random.key(0), share=1.0)
  assert heard.shape == tokens.shape


def test_refuses_what_cannot_change_voices(tmp_path):
  with pytest.raises(ValueError, match="needs the codec of the tokens"):
    SoundStormTask(TrainConfig(voice_change_prob=0.5))
  with pytest.raises(ValueError, match="voice_change_prob must be"):
    TrainConfig(voice_change_prob=1.5)
  # Its latents are of samples, which do not tell spectrum and pitch apart.
  config = TrainConfig(
    voice_change_prob=0.5,
    codec_weights=write_codec(tmp_path, levels=12, codes=1024),
  )
  with pytest.raises(ValueError, match="needs a codec with source_filter"):
    SoundStormTask(config)
