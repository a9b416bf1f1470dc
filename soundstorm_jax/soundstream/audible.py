"""Tokens made audible during training, beside what they should be.

Axes: B batch, T frames, Q levels.
"""

from collections.abc import Mapping

import jax.numpy as jnp
import numpy as np
from jaxtyping import Int

from soundstorm_jax.soundstream.codec import Codec
from soundstorm_jax.training.writer import MetricWriter

# Examples of a batch that are made audible.
_SAMPLES = 4


def load_codec(path: str, *, levels: int, codes: int) -> Codec:
  """The codec whose tokens a model predicts.

  Args:
    path: of its weights.
    levels: that the model predicts.
    codes: of a level.

  Raises:
    FileNotFoundError: there is no such file.
    ValueError: it holds something else, fewer levels or other codes.
  """
  codec = Codec.load(path)
  config = codec.config
  if config.levels < levels or config.codes != codes:
    raise ValueError(
      f"{path} has {config.levels} levels of {config.codes} codes, the model "
      f"{levels} of {codes}"
    )
  return codec


def write_speech(
  tokens: Mapping[str, Int[np.ndarray, "B T _"]],
  length: Int[np.ndarray, " B"],
  *,
  codec: Codec,
  writer: MetricWriter,
  step: int,
) -> None:
  """Writes the first few rows as audio, under "samples/".

  Args:
    tokens: by name; of the codec's first levels.
    length: frames of each row.
    codec: that decodes them.
    writer: where to.
    step: of the run.
  """
  hop = codec.config.hop
  for name, ids in tokens.items():
    audio = np.array(codec.decode(jnp.asarray(ids[:_SAMPLES])))
    for row, frames in enumerate(length[:_SAMPLES]):
      audio[row, frames * hop :] = 0
    writer.write_audios(
      step,
      {f"samples/{name}": audio[..., None]},
      sample_rate=codec.config.sample_rate,
    )
