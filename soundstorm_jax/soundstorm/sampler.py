"""SoundStorm's sampler: network and decoding in one compiled function.

Axes: B batch, T frames, Q levels.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, Key

from soundstorm_jax.soundstorm.config import SamplerConfig, SoundStormConfig
from soundstorm_jax.soundstorm.decode import decode, guided_logits_fn
from soundstorm_jax.soundstorm.int8 import quantize_network
from soundstorm_jax.soundstorm.network import SoundStorm


def make_sampler(
  model: SoundStormConfig,
  sampler: SamplerConfig,
  *,
  int8: bool = False,
) -> Callable[..., Int[Array, "B T Q"]]:
  """Makes the compiled sampler of a network.

  Args:
    model: the network's config.
    sampler: iterations, temperatures, guidance.
    int8: the Conformer's products are of integers; the parameters must be
      those of `int8.quantize_params`.

  Returns:
    A jitted function `sample(params, semantic, *, prompt, prompt_length,
    length, keys)` that gives tokens (B, T, Q): the prompt, what was decoded,
    zeros beyond `length`. `params` are the network's variables
    (`{"params": ...}`), `semantic` (B, T) its conditioning at the frame rate;
    for the others see `decode`. It is compiled once for each (B, T); rows of
    length 0 fill a batch up.

  Raises:
    ImportError: int8 is asked for and qwix is not installed.
    ValueError: `sampler` has another number of levels than `model`, or int8 is
      asked for and the layers are scanned.
  """
  if len(sampler.iterations) != model.levels:
    raise ValueError(
      f"iterations must have one entry for each of the {model.levels} levels, "
      f"got {sampler.iterations}"
    )
  # Chosen where it is compiled for, and not where it is traced. Without a
  # gradient: that would keep what either way needs.
  networks = {
    "cpu": SoundStorm(model, loop_heads=True),
    "default": SoundStorm(model),
  }
  if int8:
    networks = {
      platform: quantize_network(network)
      for platform, network in networks.items()
    }

  @jax.jit
  def sample(
    params: Mapping[str, Any],
    semantic: Int[Array, "B T"],
    *,
    prompt: Int[Array, "B T Q"],
    prompt_length: Int[Array, " B"],
    length: Int[Array, " B"],
    keys: Key[Array, " B"],
  ) -> Int[Array, "B T Q"]:
    frame = jnp.arange(semantic.shape[1])
    valid = frame < length[:, None]

    def conditioned_on(conditioning):
      ways = {
        platform: lambda tokens, level, network=network: network.apply(
          params, tokens, conditioning, valid, level=level
        )
        for platform, network in networks.items()
      }
      return lambda tokens, level: jax.lax.platform_dependent(
        tokens, level, **ways
      )

    logits_fn = conditioned_on(semantic)
    if sampler.guidance_scale > 0:
      dropped = conditioned_on(jnp.full_like(semantic, model.null_semantic_id))
      prompted = (frame < prompt_length[:, None])[..., None]

      def unconditional(tokens, level):
        # The prompt too: what still knew it would guide away from its voice.
        return dropped(jnp.where(prompted, model.mask_id, tokens), level)

      logits_fn = guided_logits_fn(
        logits_fn, unconditional, scale=sampler.guidance_scale
      )
    return decode(
      logits_fn,
      prompt=prompt,
      prompt_length=prompt_length,
      length=length,
      keys=keys,
      codes=model.codes,
      config=sampler,
    )

  return sample
