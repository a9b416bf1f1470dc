"""One step of confidence sampling within a level (MaskGIT, arXiv 2202.04200).

Every masked token is sampled; the most confident samples are kept, for good,
and the others go back to the mask. The confidence is the log-probability of
what was sampled plus annealed Gumbel noise. Which samples stay is decided by
their rank in float32: a threshold would let ties change how many.

Noise is drawn per row, from the row's own key, and per frame by its position.
So a row's tokens depend neither on the rows around it nor on the padding after
it (given equal logits).

Axes: B batch, T frames, V codes.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from soundstorm_jax.soundstorm.schedule import masked_count


class Noise(NamedTuple):
  """Standard Gumbel noise of one step.

  Attributes:
    token: added to the logits, whose argmax is then a sample.
    choice: scaled and added to the confidences.
  """

  token: Float[Array, "B T V"]
  choice: Float[Array, "B T"]


class Step(NamedTuple):
  """A level after one step.

  Attributes:
    tokens: as given where known, samples where settled or still masked.
    masked: the frames that are still masked.
  """

  tokens: Int[Array, "B T"]
  masked: Bool[Array, "B T"]


def draw_noise(keys: Key[Array, " B"], *, frames: int, codes: int) -> Noise:
  """Draws the noise of one step.

  Args:
    keys: one key per row.
    frames: T.
    codes: V.
  """

  def draw(key):
    token_key, choice_key = jax.random.split(key)
    return Noise(
      token=jax.random.gumbel(token_key, (frames, codes)),
      choice=jax.random.gumbel(choice_key, (frames,)),
    )

  return jax.vmap(draw)(keys)


def lowest(
  scores: Float[Array, "B T"], count: Int[Array, " B"]
) -> Bool[Array, "B T"]:
  """Marks the `count` lowest scores of each row, exactly that many.

  Of equal scores the earlier frame counts as the lower.
  """
  order = jnp.argsort(scores, axis=-1, stable=True)
  rank = jnp.argsort(order, axis=-1)
  return rank < count[:, None]


def sample_step(
  logits: Float[Array, "B T V"],
  tokens: Int[Array, "B T"],
  *,
  masked: Bool[Array, "B T"],
  initial: Int[Array, " B"],
  noise: Noise,
  mask_ratio: Float[Array, ""],
  noise_ratio: Float[Array, ""],
  temperature: float,
  choice_temperature: float,
) -> Step:
  """A step that samples, and keeps the most confident samples.

  Args:
    logits: predictions for this level.
    tokens: this level's tokens.
    masked: the frames to predict; the others keep their token.
    initial: masked frames per row when the level began.
    noise: from `draw_noise`.
    mask_ratio: the share of `initial` to leave masked (`Plan`).
    noise_ratio: the annealing of the choice noise (`Plan`).
    temperature: divides the logits.
    choice_temperature: scale of the choice noise before annealing.
  """
  logits = logits.astype(jnp.float32) / temperature
  sampled = jnp.argmax(logits + noise.token, axis=-1).astype(tokens.dtype)
  log_probability = jnp.take_along_axis(logits, sampled[..., None], axis=-1)
  log_probability = log_probability[..., 0] - jax.nn.logsumexp(logits, axis=-1)
  confidence = log_probability + choice_temperature * noise_ratio * noise.choice
  confidence = jnp.where(masked, confidence, jnp.inf)
  count = masked_count(initial, masked.sum(-1), mask_ratio=mask_ratio)
  return Step(
    tokens=jnp.where(masked, sampled, tokens),
    masked=masked & lowest(confidence, count),
  )


def greedy_step(
  logits: Float[Array, "B T V"],
  tokens: Int[Array, "B T"],
  *,
  masked: Bool[Array, "B T"],
) -> Step:
  """A level's last step: the most likely token wherever one is masked.

  Args:
    logits: predictions for this level.
    tokens: this level's tokens.
    masked: the frames to predict; the others keep their token.
  """
  best = jnp.argmax(logits, axis=-1).astype(tokens.dtype)
  return Step(
    tokens=jnp.where(masked, best, tokens), masked=jnp.zeros_like(masked)
  )
