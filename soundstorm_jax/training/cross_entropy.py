"""How well tokens are predicted, where they count.

Axes: B batch, T frames or tokens, V codes.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

_TOP_K = 10


class MaskedScores(NamedTuple):
  """Sums over the target frames of each example; divide by sums of `count`.

  Attributes:
    loss: negative log-likelihood, in nats.
    top1: how often the true token was the most likely.
    top10: how often it was among the ten most likely.
    count: target frames.
  """

  loss: Float[Array, " B"]
  top1: Float[Array, " B"]
  top10: Float[Array, " B"]
  count: Float[Array, " B"]


def masked_cross_entropy(
  logits: Float[Array, "B T V"],
  tokens: Int[Array, "B T"],
  *,
  target: Bool[Array, "B T"],
) -> MaskedScores:
  """Scores the predictions of one level, in float32.

  Args:
    logits: of each row's level.
    tokens: the true tokens of that level (`tokens_at_level`).
    target: the frames that count.

  Returns:
    Sums per example, all zero (and never NaN) where nothing is a target.
  """
  logits = logits.astype(jnp.float32)
  true_logit = jnp.take_along_axis(logits, tokens[:, :, None], axis=2)
  loss = jax.nn.logsumexp(logits, axis=-1) - true_logit[:, :, 0]
  rank = (logits > true_logit).sum(-1)

  def total(values):
    return jnp.where(target, values, 0).sum(-1).astype(jnp.float32)

  return MaskedScores(
    loss=total(loss),
    top1=total(rank == 0),
    top10=total(rank < _TOP_K),
    count=total(jnp.ones_like(rank)),
  )
