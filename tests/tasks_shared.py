"""What the tests of several tasks need: a codec, a writer, a comparison."""

import jax
import jax.numpy as jnp
import numpy as np

from soundstorm_jax.config import to_mapping
from soundstorm_jax.parallel import rules
from soundstorm_jax.soundstream.config import SoundStreamConfig
from soundstorm_jax.soundstream.network import SoundStream
from soundstorm_jax.training.writer import SilentWriter
from soundstorm_jax.weights import save_weights


class AudioRecorder(SilentWriter):
  """Keeps the clips that are written."""

  def __init__(self):
    self.audios = {}

  def write_audios(self, step, audios, *, sample_rate):
    assert sample_rate == 16000
    self.audios |= {f"{step}/{name}": audio for name, audio in audios.items()}


def write_codec(folder, *, levels, codes) -> str:
  """A tiny codec with random weights; the path of its file."""
  codec = SoundStreamConfig(
    encoder_channels=2, decoder_channels=2, dim=4, levels=levels, codes=codes
  )
  params = SoundStream(codec).init(jax.random.key(0), jnp.zeros((1, 640)))
  books = np.random.default_rng(0).normal(size=(levels, codes, 4))
  path = folder / "soundstream.safetensors"
  save_weights(
    path,
    {"params": rules.unbox(params["params"]), "codebooks": books},
    config=to_mapping(codec),
    kind="soundstream",
  )
  return str(path)


def assert_same_step(one, whole, many, parted) -> None:
  """A step taken at once and in parts: states `one` and `many`, metrics."""
  for name, mean in whole.items():
    np.testing.assert_allclose(parted[name].total, mean.total, rtol=1e-4)
    assert parted[name].count == mean.count
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4),
    one.params,
    many.params,
  )
