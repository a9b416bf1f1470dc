"""What a stage is conditioned on, and where in time its tokens lie.

Axes: B batch, T frames, Q levels, P tokens of the prefix, S slots.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int

from soundstorm_jax.audiolm.config import AudioLMConfig
from soundstorm_jax.audiolm.flattening import flatten


class Prefix(NamedTuple):
  """What a stage is conditioned on.

  Attributes:
    ids: in [0, config.prefix_vocab).
    valid: the first ones of each row, as many as there are frames for.
  """

  ids: Int[Array, "B P"]
  valid: Bool[Array, "B P"]


def conditioning(
  config: AudioLMConfig,
  *,
  semantic: Int[Array, "B T"],
  acoustic: Int[Array, "B T Q"],
  valid: Bool[Array, "B T"],
) -> Prefix:
  """The prefix of a stage: semantic tokens, or the coarse levels' tokens.

  Semantic tokens come repeated to the frame rate, and are read at their own;
  repeated neighbours stay (SoundStorm, arXiv 2305.09636, section 3.1).

  Args:
    config: of the stage; the other stage's tokens are not read.
    semantic: at the frame rate.
    acoustic: at least the coarse levels.
    valid: the frames that hold data.
  """
  if config.stage == "coarse":
    stride = config.semantic_stride
    return Prefix(semantic[:, ::stride], valid[:, ::stride])
  coarse = acoustic[:, :, : config.coarse_levels]
  return Prefix(
    flatten(coarse, codes=config.codes),
    jnp.repeat(valid, config.coarse_levels, axis=1),
  )


def slot_positions(
  config: AudioLMConfig, *, prefix: int, targets: int
) -> Int[np.ndarray, " S"]:
  """What relative positions are the differences of, slot by slot.

  Args:
    config: says of what they are positions.
    prefix: slots of the prefix.
    targets: slots from the start's on.
  """
  slots, start = np.arange(prefix), config.prefix_length(config.window_frames)
  if config.positions == "time":
    # A slot's time is that of its token's frame. The start's, before the first
    # frame, is -1.
    levels, start = config.target_levels, -1
    if config.stage == "coarse":
      slots = slots * config.semantic_stride * levels
    else:
      slots = slots * levels // config.coarse_levels
  return np.concatenate([slots, start + np.arange(targets)]).astype(np.int32)
