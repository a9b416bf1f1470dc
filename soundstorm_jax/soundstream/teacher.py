"""What a codec learns from another codec.

Three things change. The encoder learns
its latents by regression, and takes over its codebooks. The decoder hears the
teacher's codes, of some examples or all. And the speech that it is to make is
for some examples the teacher's from the same codes: a function of what the
decoder hears, while the recording is only one of all that sound alike.

Axis letters: B batch, N samples, T frames, D latent width.
"""

from typing import NamedTuple

import jax
from jaxtyping import Array, Float, Key

from soundstorm_jax.soundstream.audible import load_codec
from soundstorm_jax.soundstream.codec import Codec
from soundstorm_jax.soundstream.config import SoundStreamTrainingConfig
from soundstorm_jax.training import keys


class Lesson(NamedTuple):
  """What a teacher says of a batch.

  Attributes:
    latents: (B, T, D) its encoder's.
    heard: (B, 1, 1) whether the decoder hears these instead of its encoder's.
    spoken: (B, 1) whether the target is the teacher's speech.
  """

  latents: Array
  heard: Array
  spoken: Array


def load_teacher(settings: SoundStreamTrainingConfig) -> Codec | None:
  """The codec that `settings.teacher` names, if it names one.

  Raises:
    FileNotFoundError: there is no such file.
    ValueError: it has other frames, latents, levels or codes.
  """
  path, codec = settings.teacher, settings.model
  if not path:
    return None
  teacher = load_codec(path, levels=codec.levels, codes=codec.codes)
  for name in ("sample_rate", "hop", "dim", "levels"):
    ours, theirs = getattr(codec, name), getattr(teacher.config, name)
    if ours != theirs:
      raise ValueError(
        f"the teacher {path} has {name} {theirs}, the codec {ours}"
      )
  return teacher


def give_lesson(
  teacher: Codec,
  audio: Float[Array, "B N"],
  *,
  config: SoundStreamTrainingConfig,
  key: Key[Array, ""],
) -> Lesson:
  """What the teacher says of a batch, and to which examples.

  Args:
    teacher: the other codec.
    audio: of the batch.
    config: shares of the examples.
    key: draws them.
  """
  draws = jax.vmap(lambda k: jax.random.uniform(k, (2, 1)))(
    keys.by_example(key, audio.shape[0])
  )
  return Lesson(
    latents=teacher.latents(audio),
    heard=draws[:, :1] < config.teacher_latents,
    spoken=draws[:, 1] < config.teacher_speech,
  )
