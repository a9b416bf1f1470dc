"""AdamW with linear warm-up and a cosine, clipping, and averaged parameters.

Convolutions can have Muon instead (K. Jordan and others, 2024): momentum whose
matrices are made orthogonal.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int
from optax import contrib

from soundstorm_jax.config import OptimizerConfig


def learning_rate(config: OptimizerConfig, steps: int) -> optax.Schedule:
  """Linear warm-up, then a cosine to `final_lr_ratio * lr` at `steps`."""
  warmup = min(config.warmup_steps, steps)
  return optax.warmup_cosine_decay_schedule(
    init_value=config.lr / (warmup + 1),
    peak_value=config.lr,
    warmup_steps=warmup,
    decay_steps=max(steps, warmup + 1),
    end_value=config.final_lr_ratio * config.lr,
  )


def _decays(params: Any) -> Any:
  """Biases and norm scales are not pulled to zero; everything else is."""

  def decays(path: tuple, _: Any) -> bool:
    names = [p.key for p in path if isinstance(p, jax.tree_util.DictKey)]
    return not names or names[-1] not in ("bias", "scale")

  return jax.tree_util.tree_map_with_path(decays, params)


def _convolutions(params: Any) -> Any:
  """Kernels (steps, in, out) as matrices of (steps * in, out); not depthwise
  ones, nor those from or to a single channel, which have no such matrix."""

  def matrix(leaf: Array) -> contrib.MuonDimensionNumbers | None:
    if leaf.ndim == 3 and min(leaf.shape[1:]) > 1:
      return contrib.MuonDimensionNumbers((0, 1), (2,))
    return None

  return jax.tree.map(matrix, params)


def make_optimizer(
  config: OptimizerConfig, steps: int, *, muon: bool = False
) -> optax.GradientTransformation:
  """The optimizer of a run.

  Args:
    config: its settings.
    steps: of the run.
    muon: kernels of convolutions are stepped by Muon, and the rest by AdamW at
      half the rate.
  """
  rate = learning_rate(config, steps)
  if muon:
    descent = contrib.muon(
      rate,
      beta=config.b1,
      weight_decay=config.weight_decay,
      weight_decay_mask=_decays,
      adam_learning_rate=lambda step: 0.5 * rate(step),
      adam_b1=config.b1,
      adam_b2=config.b2,
      muon_weight_dimension_numbers=_convolutions,
      # Updates as large as AdamW's, so that one rate serves both.
      consistent_rms=0.2,
    )
  else:
    descent = optax.adamw(
      rate,
      b1=config.b1,
      b2=config.b2,
      weight_decay=config.weight_decay,
      mask=_decays,
    )
  return optax.chain(optax.clip_by_global_norm(config.clip_norm), descent)


def update_ema(
  average: Any,
  params: Any,
  *,
  decay: float,
  step: Int[Array, ""] | None = None,
) -> Any:
  """Moves the averaged parameters along.

  Args:
    average: the averaged parameters.
    params: the new ones.
    decay: the share of the average that stays.
    step: steps completed before this one; given, the first steps keep less of
      an average that would otherwise remember the initial values for long.
  """
  if step is not None:
    passed = step.astype(jnp.float32)
    decay = jnp.minimum(decay, (1.0 + passed) / (10.0 + passed))
  return jax.tree.map(
    lambda old, new: old + (1.0 - decay) * (new - old), average, params
  )


class Update(NamedTuple):
  """What an optimizer step leaves behind."""

  params: Any
  opt_state: Any
  norms: dict[str, Float[Array, ""]]


def update(
  optimizer: optax.GradientTransformation,
  grads: Any,
  *,
  params: Any,
  opt_state: Any,
) -> Update:
  """Applies gradients.

  Returns:
    The new trees, and the norms of gradients (before clipping), update and
    parameters under "grad_norm", "update_norm" and "param_norm".
  """
  changes, opt_state = optimizer.update(grads, opt_state, params)
  params = optax.apply_updates(params, changes)
  norms = {
    "grad_norm": optax.tree.norm(grads),
    "update_norm": optax.tree.norm(changes),
    "param_norm": optax.tree.norm(params),
  }
  return Update(params, opt_state, norms)
