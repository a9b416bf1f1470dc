"""Residual vector quantization with moving-average codebooks.

SoundStream (arXiv 2107.03312), sections III-B and III-C: each level quantizes
what the levels before it left over. The codebooks are not trained by gradient:
they follow the vectors assigned to them, start from k-means on the first batch,
and a code that falls out of use is replaced by a vector of the batch. All of it
is pure: `Codebooks` is a value that `update` maps to the next one.

Axis letters: B batch, T frames, Q levels, V codes, D width, N vectors (B * T).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

# Vectors that k-means compares with all codes at once: bounds its memory.
_CHUNK = 1 << 14


class Codebooks(NamedTuple):
  """Codes and the moving statistics they come from.

  Attributes:
    vectors: (Q, V, D) the codes.
    counts: (Q, V) moving average of how often each is used in a batch.
    sums: (Q, V, D) moving average of the sum of the vectors assigned to each.
    initialized: whether k-means has set them from a first batch.
  """

  vectors: Float[Array, "Q V D"]
  counts: Float[Array, "Q V"]
  sums: Float[Array, "Q V D"]
  initialized: Bool[Array, ""]


class Quantized(NamedTuple):
  """What the quantizer makes of a batch.

  Attributes:
    values: (B, T, D) sum of the chosen codes over the levels in use.
    codes: (B, T, Q) chosen ids; all levels, in use or not.
    residuals: (Q, B, T, D) what each level was given to quantize.
    chosen: (Q, B, T, D) the code each level chose.
  """

  values: Float[Array, "B T D"]
  codes: Int[Array, "B T Q"]
  residuals: Float[Array, "Q B T D"]
  chosen: Float[Array, "Q B T D"]


def empty_codebooks(levels: int, codes: int, *, dim: int) -> Codebooks:
  """Codebooks of zeros, waiting for `initialize`."""
  return Codebooks(
    vectors=jnp.zeros((levels, codes, dim)),
    counts=jnp.ones((levels, codes)),
    sums=jnp.zeros((levels, codes, dim)),
    initialized=jnp.zeros((), bool),
  )


def settled_codebooks(vectors: Float[Array, "Q V D"]) -> Codebooks:
  """Codebooks of given codes, which no batch initializes.

  Arrays of their own: a state that is donated may hold none twice, nor one that
  is needed elsewhere.
  """
  return Codebooks(
    jnp.copy(vectors),
    jnp.ones(vectors.shape[:2]),
    sums=jnp.copy(vectors),
    initialized=jnp.ones((), bool),
  )


def nearest(
  vectors: Float[Array, "*N D"],
  codebook: Float[Array, "V D"],
  *,
  precision: str | None = None,
) -> Int[Array, "*N"]:
  """Index of the closest code in Euclidean distance, in float32.

  Args:
    vectors: what to look up.
    codebook: the codes.
    precision: of the product; "highest" where rounding must not move a vector
      to another code.
  """
  products = jnp.matmul(vectors, codebook.T, precision=precision)
  scores = products - 0.5 * jnp.sum(jnp.square(codebook), axis=-1)
  return jnp.argmax(scores, axis=-1).astype(jnp.int32)


def quantize(
  latents: Float[Array, "B T D"],
  codebooks: Float[Array, "Q V D"],
  *,
  levels_used: Int[Array, "B"] | None = None,
) -> Quantized:
  """Quantizes level by level; gradients do not pass.

  Args:
    latents: encoder output.
    codebooks: the codes of each level.
    levels_used: per example, how many levels count in `values` (quantizer
      dropout, section III-C); all by default.
  """
  levels = codebooks.shape[0]
  if levels_used is None:
    levels_used = jnp.full((latents.shape[0],), levels)

  def one_level(residual, codebook):
    codes = nearest(residual, codebook)
    chosen = codebook[codes]
    return residual - chosen, (codes, residual, chosen)

  latents = jax.lax.stop_gradient(latents.astype(jnp.float32))
  _, (codes, residuals, chosen) = jax.lax.scan(one_level, latents, codebooks)
  used = jnp.arange(levels)[:, None] < levels_used
  values = jnp.einsum("qbtd,qb->btd", chosen, used.astype(jnp.float32))
  return Quantized(
    values=values,
    codes=jnp.moveaxis(codes, 0, -1),
    residuals=residuals,
    chosen=chosen,
  )


def dequantize(
  codes: Int[Array, "B T q"], codebooks: Float[Array, "Q V D"]
) -> Float[Array, "B T D"]:
  """Sum of the codes of the first q levels, q at most Q.

  Raises:
    ValueError: there are more levels of codes than codebooks.
  """
  if codes.shape[-1] > codebooks.shape[0]:
    raise ValueError(
      f"tokens have {codes.shape[-1]} levels, the codec {codebooks.shape[0]}"
    )
  return sum(codebooks[q][codes[..., q]] for q in range(codes.shape[-1]))


def initialize(
  latents: Float[Array, "B T D"],
  codebooks: Codebooks,
  *,
  key: Array,
  iterations: int = 10,
  revive: bool = False,
) -> Codebooks:
  """k-means on a batch, level after level (section III-C).

  Args:
    latents: any number of vectors.
    codebooks: their shape counts alone.
    key: draws where to start.
    iterations: of each level.
    revive: a code that gets no vector takes one at random and tries again;
      else it stays where it is.
  """
  levels, codes, dim = codebooks.vectors.shape
  latents = latents.reshape(-1, dim).astype(jnp.float32)
  spread = jnp.std(latents, axis=0)

  def one_level(residual, level_key):
    pick_key, noise_key = jax.random.split(level_key)

    def draw(key):
      return residual[jax.random.randint(key, (codes,), 0, residual.shape[0])]

    start = draw(pick_key)
    # A batch may hold fewer vectors than codes: noise parts the doubles.
    start += 1e-3 * spread * jax.random.normal(noise_key, start.shape)

    def lloyd(iteration, centres):
      ids = _nearest_in_chunks(residual, centres)
      count, total = _assigned(residual, ids, codes=codes)
      mean = total / jnp.maximum(count, 1)[:, None]
      if revive:
        centres = draw(jax.random.fold_in(pick_key, iteration))
      return jnp.where(count[:, None] > 0, mean, centres)

    centres = jax.lax.fori_loop(0, iterations, lloyd, start)
    ids = _nearest_in_chunks(residual, centres)
    count, _ = _assigned(residual, ids, codes=codes)
    return residual - centres[ids], (centres, count)

  _, (vectors, counts) = jax.lax.scan(
    one_level, latents, jax.random.split(key, levels)
  )
  # Codes that got no vector count as dead at the next update, which gives them
  # one of a fresh batch.
  return Codebooks(
    vectors=vectors,
    counts=counts,
    sums=vectors * counts[..., None],
    initialized=jnp.ones((), bool),
  )


def update(
  codebooks: Codebooks,
  quantized: Quantized,
  *,
  levels_used: Int[Array, "B"],
  key: Array,
  decay: float,
  dead_below: float,
) -> Codebooks:
  """Moves the codes towards what they were given, and revives dead ones.

  Args:
    codebooks: current state.
    quantized: the batch; only examples that use a level count for it.
    levels_used: (B,) as given to `quantize`.
    key: draws the replacements.
    decay: of the moving averages, 0.99 in the paper.
    dead_below: a code whose moving count is below this takes a random vector
      of the batch.
  """
  levels, codes, dim = codebooks.vectors.shape
  frames = quantized.codes.shape[1]

  def one_level(level, vectors, counts, sums, residual, ids, level_key):
    weight = jnp.repeat((level < levels_used).astype(jnp.float32), frames)
    residual = residual.reshape(-1, dim)
    count, total = _assigned(
      residual, ids.reshape(-1), codes=codes, weight=weight
    )
    # Where no example of the batch uses the level, nothing is known of it.
    keep = jnp.where(weight.sum() > 0, decay, 1.0)
    # Dropout leaves a level only part of the batch. Counting as if it had the
    # whole keeps one threshold right for all levels.
    scale = weight.size / jnp.maximum(weight.sum(), 1.0)
    counts = keep * counts + (1 - keep) * count * scale
    sums = keep * sums + (1 - keep) * total * scale
    vectors = sums / jnp.maximum(counts, 1e-6)[:, None]

    # An example that does not use the level lends it no vector.
    ends = jnp.cumsum(weight)
    draws = ends[-1] * jax.random.uniform(level_key, (codes,))
    picks = jnp.searchsorted(ends, draws, side="right")
    picks = jnp.minimum(picks, weight.size - 1)
    dead = counts < dead_below
    # Enough to live for a while, little enough to give up the place soon.
    start = 2.0 * dead_below
    vectors = jnp.where(dead[:, None], residual[picks], vectors)
    counts = jnp.where(dead, start, counts)
    sums = jnp.where(dead[:, None], vectors * start, sums)
    return vectors, counts, sums

  vectors, counts, sums = jax.lax.map(
    lambda inputs: one_level(*inputs),
    (
      jnp.arange(levels),
      codebooks.vectors,
      codebooks.counts,
      codebooks.sums,
      quantized.residuals,
      jnp.moveaxis(quantized.codes, -1, 0),
      jax.random.split(key, levels),
    ),
  )
  return Codebooks(vectors, counts, sums, codebooks.initialized)


def commitment_loss(
  latents: Float[Array, "B T D"],
  quantized: Quantized,
  *,
  levels_used: Int[Array, "B"],
) -> Float[Array, ""]:
  """Pulls the encoder towards the codes: the mean over levels in use of the
  squared distance between what a level is given and what it chose."""
  levels = quantized.chosen.shape[0]
  # The residual of level q is the latent less fixed codes, so its gradient is
  # the latent's.
  before = jnp.cumsum(quantized.chosen, axis=0) - quantized.chosen
  error = jnp.mean(jnp.square(latents - before - quantized.chosen), axis=(2, 3))
  used = (jnp.arange(levels)[:, None] < levels_used).astype(jnp.float32)
  return jnp.sum(error * used) / jnp.sum(used)


def _nearest_in_chunks(vectors, codebook):
  """`nearest`, for any number of vectors."""
  if vectors.shape[0] <= _CHUNK:
    return nearest(vectors, codebook)
  return jax.lax.map(
    lambda vector: nearest(vector, codebook), vectors, batch_size=_CHUNK
  )


def _assigned(vectors, ids, *, codes, weight=None):
  """How many vectors each code got, and their sum, optionally weighted."""
  weight = jnp.ones(ids.shape) if weight is None else weight
  count = jax.ops.segment_sum(weight, ids, num_segments=codes)
  total = jax.ops.segment_sum(
    vectors * weight[:, None], ids, num_segments=codes
  )
  return count, total
