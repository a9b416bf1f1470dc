"""Parallel decoding of all levels (SoundStorm, arXiv 2305.09636, section 2.3).

Coarse to fine, each level by confidence sampling given the levels before it,
while the finer ones stay masked. All passes run in one `lax.scan`, whose level
index is traced: the network is compiled once, whatever the number of passes.

Nothing here knows the network: it is a function from tokens to logits.

Axes: B batch, T frames, Q levels, V codes.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int, Key

from soundstorm_jax.layers.keys import check_keys
from soundstorm_jax.soundstorm import maskgit
from soundstorm_jax.soundstorm.config import SamplerConfig
from soundstorm_jax.soundstorm.schedule import Plan, cosine_plan

LogitsFn = Callable[
  [Int[Array, "B T Q"], Int[Array, ""]], Float[Array, "B T V"]
]


def decode(
  logits_fn: LogitsFn,
  *,
  prompt: Int[Array, "B T Q"],
  prompt_length: Int[Array, " B"],
  length: Int[Array, " B"],
  keys: Key[Array, " B"],
  codes: int,
  config: SamplerConfig,
) -> Int[Array, "B T Q"]:
  """Decodes the frames after each row's prompt.

  A row's tokens depend on its own prompt, lengths, key and logits alone.

  Args:
    logits_fn: maps tokens, the id `codes` standing for the mask, and a level,
      counted from 0, to that level's logits.
    prompt: known tokens; what lies at or beyond `prompt_length` is not read.
    prompt_length: known frames of each row, from 0 to its length.
    length: frames of each row, from 0 to T; 0 makes a dummy row.
    keys: one threefry key per row.
    codes: V, the number of codes, and the mask's id.
    config: iterations per level, temperatures. `guidance_scale` is not read:
      guidance is a matter of the logits (`guided_logits_fn`).

  Returns:
    The prompt, followed by what was decoded, followed by zeros beyond `length`.

  Raises:
    ValueError: the levels of `prompt` and `config.iterations` differ, or the
      keys are not threefry keys (other generators' draws depend on the batch).
  """
  _, frames, levels = prompt.shape
  if levels != len(config.iterations):
    raise ValueError(
      f"config.iterations must have one entry for each of the {levels} "
      f"levels, got {config.iterations}"
    )
  check_keys(keys)
  frame = jnp.arange(frames)
  within = frame < length[:, None]
  wanted = within & (frame >= prompt_length[:, None])
  initial = wanted.sum(-1)
  tokens = jnp.where(wanted[:, :, None], codes, prompt)
  tokens = jnp.where(within[:, :, None], tokens, 0)

  def run_pass(tokens, step: Plan):
    logits = logits_fn(tokens, step.level)
    known = lax.dynamic_index_in_dim(tokens, step.level, 2, keepdims=False)
    masked = wanted & (known == codes)

    def settle():
      return maskgit.greedy_step(logits, known, masked=masked)

    def sample():
      step_keys = jax.vmap(jax.random.fold_in, in_axes=(0, None))(
        keys, step.index
      )
      return maskgit.sample_step(
        logits,
        known,
        masked=masked,
        initial=initial,
        noise=maskgit.draw_noise(step_keys, frames=frames, codes=codes),
        mask_ratio=step.mask_ratio,
        noise_ratio=step.noise_ratio,
        temperature=config.temperature,
        choice_temperature=config.choice_temperature,
      )

    # A branch and not a selection: most passes are a level's last, and those
    # need no noise.
    with jax.named_scope("settle"):
      result = lax.cond(step.final, settle, sample)
    settled = jnp.where(result.masked, codes, result.tokens)
    tokens = lax.dynamic_update_index_in_dim(tokens, settled, step.level, 2)
    return tokens, None

  plan = jax.tree.map(jnp.asarray, cosine_plan(config.iterations))
  tokens, _ = lax.scan(run_pass, tokens, plan)
  return tokens


def guided_logits_fn(
  conditional: LogitsFn, unconditional: LogitsFn, *, scale: float
) -> LogitsFn:
  """Classifier-free guidance (arXiv 2207.12598) of log-probabilities.

  For a network that was trained with its conditioning dropped at times, and at
  times without a prompt.

  Args:
    conditional: the network given semantic tokens and prompt.
    unconditional: the network given neither.
    scale: how far to move beyond the conditional prediction, away from the
      unconditional one; 0 gives the conditional prediction.
  """

  def logits_fn(tokens, level):
    given = jax.nn.log_softmax(conditional(tokens, level))
    dropped = jax.nn.log_softmax(unconditional(tokens, level))
    return given + scale * (given - dropped)

  return logits_fn
