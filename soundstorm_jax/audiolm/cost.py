"""How much work AudioLM's samplers do, and the pieces of it to be timed alone.

The samplers do four things: a pass over what is known of a window (a prefill),
for each stage, and loops of cached steps, each with a cache of one length. So
the cost of a run is a sum over these of how often, times how long, and both can
be had without the run.

Axes: B batch, T frames, L levels of a stage, P slots of the prefix.
"""

import collections
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Key

from soundstorm_jax.audiolm.conditioning import Prefix
from soundstorm_jax.audiolm.config import (
  AudioLMConfig,
  AudioLMSamplerConfig,
  AudioLMStages,
)
from soundstorm_jax.audiolm.flattening import windows
from soundstorm_jax.audiolm.network import AudioLM, Caches, decoding_config
from soundstorm_jax.audiolm.sampler import prefill, step_fn
from soundstorm_jax.layers.attention import LayerCache
from soundstorm_jax.layers.cached_decoding import decode_window, segment_ends


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


class Loop(NamedTuple):
  """Steps that cost the same.

  Attributes:
    room: the cache has the prefix's slots and so many more.
    steps: how many, in all windows together.
  """

  room: int
  steps: int


class StageWork(NamedTuple):
  """What one stage does for a batch.

  Attributes:
    config: of the stage.
    rows: that the network takes at once: chunks that run together are rows.
    frames: of a window.
    known_frames: that a prefill is over, beside the prefix.
    prefills: how many.
    loops: by the length of the cache, ascending; none is empty.
  """

  config: AudioLMConfig
  rows: int
  frames: int
  known_frames: int
  prefills: int
  loops: tuple[Loop, ...]

  @property
  def steps(self) -> int:
    """In all loops."""
    return sum(loop.steps for loop in self.loops)


def count_work(
  stages: AudioLMStages,
  sampler: AudioLMSamplerConfig,
  *,
  frames: int,
  prompt_length: Sequence[int],
  length: Sequence[int],
  prompt_frames: int = 0,
) -> tuple[StageWork, StageWork]:
  """What both stages of `make_sampler`'s function do for a batch.

  Args:
    stages: the networks' configs.
    sampler: of the same sampler.
    frames: T, of the batch.
    prompt_length: of each row.
    length: of each row, prompt included.
    prompt_frames: of the sampler's `prompt`, which may be longer than any row
      needs; how long prefills are follows from it, and nothing else.
  """
  prompts, lengths = np.array(prompt_length), np.array(length)

  def loops(
    levels: int,
    size: int,
    pieces: Sequence[tuple[Any, int]],
    known_frames: int,
  ) -> tuple[Loop, ...]:
    """Of windows that begin at (each row's) frame, with frames known."""
    ends = segment_ends(size * levels, sampler.cache_segments)
    counts: collections.Counter[int] = collections.Counter()
    for start, known in pieces:
      until = np.clip(lengths - start, 0, size)
      begin = np.clip(np.maximum(prompts - start, known), 0, until)
      busy = begin < until
      if not busy.any():
        continue
      # From the first token that a row wants to the last one.
      first, last = (
        int(value) * levels for value in (begin[busy].min(), until[busy].max())
      )
      for before, end in itertools.pairwise((0, *ends)):
        # A prefill may have made a longer cache than this part needs.
        room = max(end, 1 + known_frames * levels)
        counts[room] += max(0, min(last, end) - max(first, before))
    return tuple(Loop(*pair) for pair in sorted(counts.items()) if pair[1])

  size = min(frames, stages.coarse.window_frames)
  plan = windows(frames, window=size, overlap=sampler.overlap_frames)
  known = max(min(prompt_frames, size), *(w.known for w in plan), 0)
  coarse = StageWork(
    config=stages.coarse,
    rows=len(lengths),
    frames=size,
    known_frames=known,
    prefills=len(plan),
    loops=loops(
      stages.coarse.target_levels,
      size,
      [(w.start, w.known) for w in plan],
      known,
    ),
  )
  size = min(frames, stages.fine.window_frames)
  starts = np.arange(0, frames, size)
  together = sampler.parallel_chunks
  known = min(prompt_frames, size)
  fine = StageWork(
    config=stages.fine,
    rows=len(lengths) * (len(starts) if together else 1),
    frames=size,
    known_frames=known,
    prefills=1 if together else len(starts),
    loops=loops(
      stages.fine.target_levels,
      size,
      [(starts[:, None], 0)] if together else [(int(s), 0) for s in starts],
      known,
    ),
  )
  return coarse, fine


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
  coarse, fine = count_work(
    stages, sampler, frames=frames, prompt_length=prompt_length, length=length
  )
  return Passes(coarse.prefills, coarse.steps, fine.prefills, fine.steps)


def make_steps(
  config: AudioLMConfig, *, frames: int, room: int, steps: int
) -> Callable[..., Int[Array, "B _"]]:
  """Makes one of the sampler's loops, to be timed alone.

  The cache begins empty, which takes as long to read as a full one.

  Args:
    config: of the stage.
    frames: of the window, which says how long its prefix is.
    room: see `Loop`.
    steps: the most that a run can make; they are the last that fit.

  Returns:
    A jitted function `run(params, *, keys, count)` that makes `count` steps;
    `keys` are one a row. It gives the codes. `count` is not known to the
    compiler: one program serves any.

  Raises:
    ValueError: fewer than one step, or more than there are tokens.
  """
  config = decoding_config(config)
  tokens = frames * config.target_levels
  end = min(room, tokens)
  if not (1 <= steps <= end and room <= tokens + 1):
    raise ValueError(
      f"steps and room must be within the {tokens} tokens of {frames} frames, "
      f"got {steps} and {room}"
    )
  prefix = config.prefix_length(frames)

  @jax.jit
  def run(
    params: Mapping[str, Any], *, keys: Key[Array, " B"], count: Int[Array, ""]
  ) -> Int[Array, "B _"]:
    rows = len(keys)
    heads = config.transformer.heads
    width = config.transformer.dim // heads
    empty = jnp.zeros(
      (rows * heads, prefix + room, width), config.transformer.dtype
    )
    biases = AudioLM(config).apply({"params": params}, method="distance_biases")
    start = jnp.full(rows, end - steps)
    return decode_window(
      step_fn(config, params, prefix_valid=jnp.ones((rows, prefix), bool)),
      Caches((LayerCache(empty, empty),) * config.transformer.layers, biases),
      known=jnp.zeros((rows, end), jnp.int32),
      start=start,
      stop=start + count,
      keys=keys,
      offset=jnp.zeros(rows, jnp.int32),
      temperature=1.0,
    )

  return run


def make_prefill(config: AudioLMConfig) -> Callable[..., Caches]:
  """Makes a stage's prefill, to be timed alone.

  Returns:
    A jitted function `run(params, prefix_ids, tokens)` of ids (B, P) and the
    known tokens (B, T, L), all of them valid.
  """

  @jax.jit
  def run(
    params: Mapping[str, Any],
    prefix_ids: Int[Array, "B P"],
    tokens: Int[Array, "B T L"],
  ) -> Caches:
    prefix = Prefix(prefix_ids, jnp.ones(prefix_ids.shape, bool))
    return prefill(config, params, prefix=prefix, tokens=tokens)

  return run
