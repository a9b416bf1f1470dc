"""How much work AudioLM's samplers do: passes counted, steps to be timed.

Axes: B batch, T frames.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Int

from soundstorm_jax.config import (
  AudioLMConfig,
  AudioLMSamplerConfig,
  AudioLMStages,
)
from soundstorm_jax.flattening import windows
from soundstorm_jax.models.audiolm import AudioLM, Caches, decoding_config
from soundstorm_jax.models.transformer import LayerCache
from soundstorm_jax.sampling.audiolm import step_fn


class Passes(NamedTuple):
  """How often the networks run for one batch, one after another.

  Attributes:
    coarse_prefills: passes over what is known, in parallel over its tokens.
    coarse_steps: of one token a row.
    fine_prefills: as for the coarse stage.
    fine_steps: likewise, of one token a row, or one a chunk if chunks run
      together.
  """

  coarse_prefills: int
  coarse_steps: int
  fine_prefills: int
  fine_steps: int


def count_passes(
  stages: AudioLMStages,
  sampler: AudioLMSamplerConfig,
  *,
  frames: int,
  prompt_length: Sequence[int],
  length: Sequence[int],
) -> Passes:
  """The passes that `make_sampler`'s function makes for a batch.

  Args:
    stages: the networks' configs.
    sampler: of the same sampler.
    frames: T, of the batch.
    prompt_length: of each row.
    length: of each row, prompt included.
  """
  prompts, lengths = np.array(prompt_length), np.array(length)

  def steps(start: Any, size: int, known: int = 0) -> int:
    """From the first token that a row wants to the last one."""
    until = np.clip(lengths - start, 0, size)
    begin = np.clip(np.maximum(prompts - start, known), 0, until)
    busy = begin < until
    return int(until[busy].max() - begin[busy].min()) if busy.any() else 0

  size = min(frames, stages.coarse.window_frames)
  plan = windows(frames, window=size, overlap=sampler.overlap_frames)
  coarse = sum(steps(w.start, size, w.known) for w in plan)
  size = min(frames, stages.fine.window_frames)
  starts = np.arange(0, frames, size)
  if sampler.parallel_chunks:
    fine = steps(starts[:, None], size)
  else:
    fine = sum(steps(start, size) for start in starts)
  return Passes(
    coarse_prefills=len(plan),
    coarse_steps=coarse * stages.coarse.target_levels,
    fine_prefills=1 if sampler.parallel_chunks else len(starts),
    fine_steps=fine * stages.fine.target_levels,
  )


def make_steps(
  config: AudioLMConfig, *, frames: int, index: int, steps: int
) -> Callable[..., Int[Array, " B"]]:
  """Makes a compiled run of cached steps alone, to be timed.

  Args:
    config: of the stage.
    frames: of the window, which says how long its prefix is.
    index: the first token to decode; the cache has all slots before it, and
      room for the steps.
    steps: how many.

  Returns:
    A jitted function `run(params, tokens)` that feeds each row its own greedy
    choices, beginning with `tokens` (B,); it gives the last ones.

  Raises:
    ValueError: fewer than one step, or more than the window has left.
  """
  config = decoding_config(config)
  count = frames * config.target_levels
  if steps < 1 or not 0 <= index <= count - steps:
    raise ValueError(
      f"steps must be within the {count} tokens of {frames} frames, got "
      f"{steps} from token {index} on"
    )
  prefix = config.prefix_length(frames)

  @jax.jit
  def run(
    params: Mapping[str, Any], tokens: Int[Array, " B"]
  ) -> Int[Array, " B"]:
    rows = tokens.shape[0]
    heads = config.transformer.heads
    width = config.transformer.dim // heads
    empty = jnp.zeros(
      (rows * heads, prefix + index + steps, width), config.transformer.dtype
    )
    step = step_fn(config, params, prefix_valid=jnp.ones((rows, prefix), bool))

    def body(offset, carry):
      tokens, caches = carry
      logits, caches = step(
        caches,
        previous=tokens,
        index=index + offset,
        write=jnp.ones(rows, bool),
      )
      return jnp.argmax(logits, axis=-1).astype(jnp.int32), caches

    layers = (LayerCache(empty, empty),) * config.transformer.layers
    network = AudioLM(config)
    biases = network.apply({"params": params}, method="distance_biases")
    caches = Caches(layers, biases)
    return lax.fori_loop(0, steps, body, (tokens, caches))[0]

  return run
