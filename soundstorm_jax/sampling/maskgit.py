"""One step of confidence sampling within a level (MaskGIT, arXiv 2202.04200).

Every masked token is sampled; the most confident samples are kept, for good,
and the others go back to the mask. The confidence is the log-probability of
what was sampled plus annealed Gumbel noise. Which samples stay is decided by
their rank in float32: a threshold would let ties change how many.

Noise is drawn per row, from the row's own key, and per frame by its position.
So a row's tokens depend neither on the rows around it nor on the padding after
it (given equal logits).

A network that is not sure of any code adds noise by whichever it takes. For it
there is a step that draws nothing (`nearest_step`).

Axes: B batch, T frames, V codes, C width of their vectors.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from soundstorm_jax.models.quantizer import nearest
from soundstorm_jax.sampling.schedule import masked_count


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
  return _keep_surest(
    sampled,
    tokens,
    masked=masked,
    confidence=confidence,
    initial=initial,
    mask_ratio=mask_ratio,
    final=jnp.zeros((), bool),
  )


def _keep_surest(
  taken: Int[Array, "B T"],
  tokens: Int[Array, "B T"],
  *,
  masked: Bool[Array, "B T"],
  confidence: Float[Array, "B T"],
  initial: Int[Array, " B"],
  mask_ratio: Float[Array, ""],
  final: Bool[Array, ""],
) -> Step:
  """Takes the codes of the masked frames, but for the least sure of them."""
  confidence = jnp.where(masked, confidence, jnp.inf)
  count = masked_count(
    initial, masked.sum(-1), mask_ratio=mask_ratio, final=final
  )
  return Step(
    tokens=jnp.where(masked, taken, tokens),
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


def nearest_step(
  logits: Float[Array, "B T V"],
  tokens: Int[Array, "B T"],
  *,
  masked: Bool[Array, "B T"],
  initial: Int[Array, " B"],
  codebook: Float[Array, "V C"],
  mask_ratio: Float[Array, ""],
  final: Bool[Array, ""],
) -> tuple[Step, Float[Array, "B T C"]]:
  """A step that takes the codes of least squared error, and keeps the surest.

  Not in the paper. The code whose vector is nearest to the one that is expected
  has the least expected squared error; the surest frames are those whose
  vectors vary least under the predictions.

  Args:
    logits: predictions for this level.
    tokens: this level's tokens.
    masked: the frames to predict; the others keep their token.
    initial: masked frames per row when the level began.
    codebook: vectors of this level's codes.
    mask_ratio: the share of `initial` to leave masked (`Plan`).
    final: the level's last step, which leaves none.

  Returns:
    The step, and the vectors that are expected at all frames.
  """
  odds = jax.nn.softmax(logits.astype(jnp.float32))
  expected = odds @ codebook
  square = odds @ jnp.sum(jnp.square(codebook), axis=-1)
  variance = square - jnp.sum(jnp.square(expected), axis=-1)
  step = _keep_surest(
    nearest(expected, codebook).astype(tokens.dtype),
    tokens,
    masked=masked,
    confidence=-variance,
    initial=initial,
    mask_ratio=mask_ratio,
    final=final,
  )
  return step, expected
