"""When decoding settles how much (SoundStorm, arXiv 2305.09636, section 2.3).

Levels are decoded coarse to fine. Within a level, iteration s of S leaves a
share cos(pi/2 * (s+1)/S) of its tokens masked (MaskGIT, arXiv 2202.04200). The
whole plan depends on the settings alone, so it is made with NumPy before
anything is compiled, and the sampler's loop reads one entry per pass.

Axes: B batch, P forward passes.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int


class Plan(NamedTuple):
  """What each forward pass does, in order.

  Every field has one entry per pass; inside a scan over the plan, the entry.

  Attributes:
    index: the number of the pass.
    level: the level it decodes, from 0.
    mask_ratio: the share of the level's tokens masked after it.
    noise_ratio: 1 - (s+1)/S, which anneals the noise on the confidences.
    final: the level's last pass: greedy, and nothing stays masked.
  """

  index: Int[np.ndarray | Array, "*P"]
  level: Int[np.ndarray | Array, "*P"]
  mask_ratio: Float[np.ndarray | Array, "*P"]
  noise_ratio: Float[np.ndarray | Array, "*P"]
  final: Bool[np.ndarray | Array, "*P"]


def cosine_plan(iterations: Sequence[int]) -> Plan:
  """The passes of all levels, with MaskGIT's cosine schedule in each.

  Args:
    iterations: passes per level, coarse to fine.

  Raises:
    ValueError: there is no level, or a level has no pass.
  """
  if not iterations or min(iterations) < 1:
    raise ValueError(
      f"iterations must be at least 1 at every level, got {iterations}"
    )
  level = np.repeat(np.arange(len(iterations)), iterations)
  done = np.concatenate([np.arange(1, n + 1) / n for n in iterations])
  final = done == 1
  return Plan(
    index=np.arange(len(level), dtype=np.int32),
    level=level.astype(np.int32),
    mask_ratio=np.where(final, 0, np.cos(np.pi / 2 * done)).astype(np.float32),
    noise_ratio=(1 - done).astype(np.float32),
    final=final,
  )


def masked_count(
  initial: Int[Array, " B"],
  unknown: Int[Array, " B"],
  *,
  mask_ratio: Float[Array, ""],
) -> Int[Array, " B"]:
  """How many tokens of a level stay masked after a pass that is not its last.

  floor(initial * mask_ratio), in float32, but at least 1, so that the greedy
  last pass has something to do, and at most unknown - 1, so that every pass
  settles something. Where the two conflict, with one token unknown, it waits
  for the last pass.

  Args:
    initial: masked tokens when the level began; prompt and padding not counted.
    unknown: tokens masked now.
    mask_ratio: of this pass, from the plan.
  """
  count = jnp.floor(initial * mask_ratio).astype(jnp.int32)
  count = jnp.maximum(jnp.minimum(count, unknown - 1), 1)
  return jnp.where(unknown == 0, 0, count)
