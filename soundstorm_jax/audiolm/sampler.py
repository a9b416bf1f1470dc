"""AudioLM's samplers: each stage, or both, in one compiled function.

The coarse stage takes utterances longer than its window window after window,
the end of one being the prompt of the next. The fine stage cuts them into
chunks that do not know of each other (AudioLM, arXiv 2209.03143, section
III-D), and takes all of them as one batch, or, as published, one by one.

What is known of a window goes through the network in one pass; then there is
one step a token.

Axes: B batch, T frames, Q levels, L levels of a stage, C chunks.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Int, Key

from soundstorm_jax.audiolm.conditioning import Prefix, conditioning
from soundstorm_jax.audiolm.config import (
  AudioLMConfig,
  AudioLMSamplerConfig,
  AudioLMStages,
)
from soundstorm_jax.audiolm.flattening import windows
from soundstorm_jax.audiolm.network import AudioLM, Caches, decoding_config
from soundstorm_jax.layers.cached_decoding import decode_window, segment_ends

# Streams of a row's key.
_COARSE, _FINE = 0, 1


def make_sampler(
  stages: AudioLMStages, sampler: AudioLMSamplerConfig
) -> Callable[..., Int[Array, "B T Q"]]:
  """Makes the compiled sampler of both stages.

  Args:
    stages: the networks' configs.
    sampler: temperatures, windows, and how chunks are run.

  Returns:
    A jitted function `sample(params, semantic, *, prompt, prompt_length,
    length, keys)` that gives tokens (B, T, Q): the prompt, what was decoded,
    zeros beyond `length`. It takes what that of `soundstorm.sampler` takes,
    but for `params`, {"coarse": ..., "fine": ...}, each what `decoding_params`
    gives; and `prompt` may have fewer frames than T, if no `prompt_length` is
    more, and is then done with faster. It is compiled once for each shape;
    rows of length 0 fill a batch up.
  """
  coarse = coarse_sampler(stages.coarse, sampler)
  fine = fine_sampler(stages.fine, sampler)
  levels = stages.coarse.coarse_levels

  @jax.jit
  def sample(
    params: Mapping[str, Any],
    semantic: Int[Array, "B T"],
    *,
    prompt: Int[Array, "B P Q"],
    prompt_length: Int[Array, " B"],
    length: Int[Array, " B"],
    keys: Key[Array, " B"],
  ) -> Int[Array, "B T Q"]:
    rows = {"prompt_length": prompt_length, "length": length, "keys": keys}
    first = coarse(
      params["coarse"], semantic, prompt=prompt[:, :, :levels], **rows
    )
    rest = fine(params["fine"], first, prompt=prompt[:, :, levels:], **rows)
    return jnp.concatenate([first, rest], axis=-1)

  return sample


def coarse_sampler(
  config: AudioLMConfig, sampler: AudioLMSamplerConfig
) -> Callable[..., Int[Array, "B T L"]]:
  """The coarse stage's part of `make_sampler`, not jitted.

  Returns:
    A function `sample(params, semantic, *, prompt, prompt_length, length,
    keys)` of that stage's parameters and levels.
  """
  decode = _window_decoder(config, sampler, stream=_COARSE)

  def sample(
    params: Mapping[str, Any],
    semantic: Int[Array, "B T"],
    *,
    prompt: Int[Array, "B P L"],
    prompt_length: Int[Array, " B"],
    length: Int[Array, " B"],
    keys: Key[Array, " B"],
  ) -> Int[Array, "B T L"]:
    frames = semantic.shape[1]
    size = min(frames, config.window_frames)
    plan = windows(frames, window=size, overlap=sampler.overlap_frames)
    total = plan[-1].start + size
    semantic = jnp.pad(semantic, ((0, 0), (0, total - frames)))
    tokens = _fit(prompt, total)
    # One compiled pass serves all windows, so it is as long as any needs.
    known_frames = max(min(prompt.shape[1], size), *(w.known for w in plan), 0)

    def run(tokens, window):
      start, known = window[0], window[1]
      cut = lambda x: lax.dynamic_slice_in_dim(x, start, size, 1)  # noqa: E731
      until = jnp.clip(length - start, 0, size)
      here = decode(
        params,
        semantic=cut(semantic),
        acoustic=cut(tokens),
        targets=cut(tokens),
        known=jnp.clip(jnp.maximum(prompt_length - start, known), 0, until),
        length=until,
        known_frames=known_frames,
        keys=keys,
        start=jnp.broadcast_to(start, length.shape),
      )
      return lax.dynamic_update_slice_in_dim(tokens, here, start, 1), None

    tokens, _ = lax.scan(run, tokens, jnp.asarray(plan, jnp.int32))
    return tokens[:, :frames]

  return sample


def fine_sampler(
  config: AudioLMConfig, sampler: AudioLMSamplerConfig
) -> Callable[..., Int[Array, "B T L"]]:
  """The fine stage's part of `make_sampler`, not jitted.

  Returns:
    A function `sample(params, coarse, *, prompt, prompt_length, length, keys)`
    of that stage's parameters and levels; `coarse` (B, T, coarse levels) are
    the other stage's tokens.
  """
  decode = _window_decoder(config, sampler, stream=_FINE)

  def sample(
    params: Mapping[str, Any],
    coarse: Int[Array, "B T _"],
    *,
    prompt: Int[Array, "B P L"],
    prompt_length: Int[Array, " B"],
    length: Int[Array, " B"],
    keys: Key[Array, " B"],
  ) -> Int[Array, "B T L"]:
    rows, frames, _ = coarse.shape
    size = min(frames, config.window_frames)
    chunks = -(-frames // size)
    known_frames = min(prompt.shape[1], size)
    start = jnp.arange(chunks, dtype=jnp.int32) * size

    def cut(x: jax.Array) -> jax.Array:
      """(B, T, L) to (C, B, frames of a chunk, L)."""
      x = _fit(x, chunks * size).reshape(rows, chunks, size, -1)
      return jnp.swapaxes(x, 0, 1)

    def run(start, coarse, tokens, length, prompt_length, keys):
      until = jnp.clip(length - start, 0, size)
      return decode(
        params,
        semantic=coarse[:, :, 0],
        acoustic=coarse,
        targets=tokens,
        known=jnp.clip(prompt_length - start, 0, until),
        length=until,
        known_frames=known_frames,
        keys=keys,
        start=start,
      )

    each = (length, prompt_length, keys)
    if sampler.parallel_chunks:
      # Chunk by chunk, all rows of each.
      merged = [x.reshape(-1, *x.shape[2:]) for x in (cut(coarse), cut(prompt))]
      tokens = run(
        jnp.repeat(start, rows), *merged, *(jnp.tile(x, chunks) for x in each)
      )
      tokens = tokens.reshape(chunks, rows, size, -1)
    else:
      tokens = lax.map(
        lambda chunk: run(jnp.repeat(chunk[0], rows), *chunk[1:], *each),
        (start, cut(coarse), cut(prompt)),
      )
    tokens = jnp.swapaxes(tokens, 0, 1).reshape(rows, chunks * size, -1)
    return tokens[:, :frames]

  return sample


def _fit(x: Int[Array, "B P L"], frames: int) -> Int[Array, "B T L"]:
  """Cuts off or fills up."""
  x = x[:, :frames]
  return jnp.pad(x, ((0, 0), (0, frames - x.shape[1]), (0, 0)))


def _window_decoder(
  config: AudioLMConfig, sampler: AudioLMSamplerConfig, *, stream: int
) -> Callable[..., Int[Array, "B T L"]]:
  """A function that decodes one window, or one chunk, of every row."""
  config = decoding_config(config)
  levels = config.target_levels
  temperature = (
    sampler.coarse_temperature
    if config.stage == "coarse"
    else sampler.fine_temperature
  )

  def decode(
    params: Mapping[str, Any],
    *,
    semantic: Int[Array, "B T"],
    acoustic: Int[Array, "B T _"],
    targets: Int[Array, "B T L"],
    known: Int[Array, " B"],
    length: Int[Array, " B"],
    known_frames: int,
    keys: Key[Array, " B"],
    start: Int[Array, " B"],
  ) -> Int[Array, "B T L"]:
    rows, frames, _ = targets.shape
    frame = jnp.arange(frames)
    valid = frame < length[:, None]
    targets = jnp.where((frame < known[:, None])[:, :, None], targets, 0)
    prefix = conditioning(
      config, semantic=semantic, acoustic=acoustic, valid=valid
    )
    with jax.named_scope("prefill"):
      caches = prefill(
        config, params, prefix=prefix, tokens=targets[:, :known_frames]
      )
    codes = decode_window(
      step_fn(config, params, prefix_valid=prefix.valid),
      caches,
      known=targets.reshape(rows, frames * levels),
      start=known * levels,
      stop=length * levels,
      keys=jax.vmap(jax.random.fold_in, in_axes=(0, None))(keys, stream),
      offset=start * levels,
      temperature=temperature,
      ends=segment_ends(frames * levels, sampler.cache_segments),
      grow=lambda caches, end: grow(caches, prefix.ids.shape[1] + end),
    )
    return codes.reshape(rows, frames, levels)

  return decode


def prefill(
  config: AudioLMConfig,
  params: Mapping[str, Any],
  *,
  prefix: Prefix,
  tokens: Int[Array, "B T L"],
) -> Caches:
  """`AudioLM.prefill` with the parameters that `decoding_params` gives."""
  network = AudioLM(decoding_config(config))
  return network.apply({"params": params}, prefix, tokens, method="prefill")


def step_fn(
  config: AudioLMConfig,
  params: Mapping[str, Any],
  *,
  prefix_valid: Any,
) -> Callable[..., tuple[jax.Array, Caches]]:
  """`AudioLM.step` as `decode_window` takes it."""
  network = AudioLM(decoding_config(config))

  def step(cache, *, previous, index, write):
    return network.apply(
      {"params": params},
      cache,
      previous=previous,
      index=index,
      prefix_valid=prefix_valid,
      write=write,
      method="step",
    )

  return step


def grow(caches: Caches, slots: int) -> Caches:
  """Makes room for so many slots."""

  def one(x: jax.Array) -> jax.Array:
    return jnp.pad(x, ((0, 0), (0, max(0, slots - x.shape[1])), (0, 0)))

  return caches._replace(layers=jax.tree.map(one, caches.layers))
