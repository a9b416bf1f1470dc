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

from soundstorm_jax.config import SamplerConfig
from soundstorm_jax.models import quantizer
from soundstorm_jax.sampling import maskgit
from soundstorm_jax.sampling.likeness import match_prompt
from soundstorm_jax.sampling.schedule import Plan, cosine_plan

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
  codebooks: Float[Array, "Q V C"] | None = None,
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
    codebooks: of the codec; read, and needed, where `config.settle` is
      "nearest" or with `config.prompt_match`.

  Returns:
    The prompt, followed by what was decoded, followed by zeros beyond `length`.

  Raises:
    ValueError: the levels of `prompt` and `config.iterations` differ, the
      codebooks are needed and not there or of other sizes, or the keys are
      not threefry keys (other generators' draws depend on the batch).
  """
  _, frames, levels = prompt.shape
  if levels != len(config.iterations):
    raise ValueError(
      f"config.iterations must have one entry for each of the {levels} "
      f"levels, got {config.iterations}"
    )
  check_keys(keys)
  nearest = config.settle == "nearest"
  if nearest or config.prompt_match:
    _check_codebooks(codebooks, levels=levels, codes=codes)
  frame = jnp.arange(frames)
  within = frame < length[:, None]
  wanted = within & (frame >= prompt_length[:, None])
  initial = wanted.sum(-1)
  tokens = jnp.where(wanted[:, :, None], codes, prompt)
  tokens = jnp.where(within[:, :, None], tokens, 0)

  passed = config.passed_levels
  rest = passed < levels

  def run_pass(carry, step: Plan):
    tokens, expected = carry
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

    with jax.named_scope("settle"):
      if nearest:
        result, vectors = maskgit.nearest_step(
          logits,
          known,
          masked=masked,
          initial=initial,
          codebook=codebooks[step.level],
          mask_ratio=step.mask_ratio,
          final=step.final,
        )
        if rest:
          # As it was when its code was settled.
          expected = jnp.where(masked[..., None], vectors, expected)
      else:
        # A branch and not a selection: most passes are a level's last, and
        # those need no noise.
        result = lax.cond(step.final, settle, sample)
    settled = jnp.where(result.masked, codes, result.tokens)
    tokens = lax.dynamic_update_index_in_dim(tokens, settled, step.level, 2)
    return (tokens, expected), None

  plan = jax.tree.map(jnp.asarray, cosine_plan(config.iterations[:passed]))
  # Kept only where levels without a pass need it.
  expected = jnp.zeros((*tokens.shape[:2], codebooks.shape[2]) if rest else ())
  (tokens, expected), _ = lax.scan(run_pass, (tokens, expected), plan)
  if rest:
    last = codebooks[passed - 1][tokens[:, :, passed - 1]]
    told = quantizer.quantize(expected - last, codebooks[passed:]).codes
    told = jnp.where(wanted[:, :, None], told, tokens[:, :, passed:])
    tokens = tokens.at[:, :, passed:].set(told)
  if config.prompt_match:
    tokens = match_prompt(
      tokens,
      prompt_length=prompt_length,
      length=length,
      codebooks=codebooks,
      strength=config.prompt_match,
    )
  return tokens


def _check_codebooks(
  codebooks: Float[Array, "Q V C"] | None, *, levels: int, codes: int
) -> None:
  shape = None if codebooks is None else codebooks.shape[:2]
  if shape != (levels, codes):
    raise ValueError(
      "settle='nearest' and prompt_match need codebooks of "
      f"{levels} levels and {codes} codes, got {shape}"
    )


def check_keys(keys: Key[Array, "*B"]) -> None:
  """Refuses keys whose draws depend on the batch around them.

  Raises:
    ValueError: they are not threefry keys.
  """
  implementation = str(jax.random.key_impl(keys))
  if implementation != "threefry2x32":
    raise ValueError(
      f"keys must be threefry2x32 keys, got {implementation} keys"
    )


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
