"""The targets of BEST-RQ (arXiv 2202.01855), and losses on phones.

Pure functions of arrays and keys. The quantizer is made from a seed and never
trained; nothing of it is stored.

Axes: B batch, T frames, F channels of a frame, V codes, C width of a code,
P = 4 T steps of 10 ms, L places of a label sequence.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int, Key

from soundstorm_jax.data.phones import SILENCE, UNKNOWN

# The noise that masked frames are replaced with (section 3.2).
_NOISE_STD = 0.1


class RandomQuantizer(NamedTuple):
  """A frozen projection and codebook (section 3.1)."""

  projection: Float[Array, "F C"]
  codebook: Float[Array, "V C"]


def random_quantizer(
  key: Key[Array, ""], *, channels: int, codes: int, code_dim: int
) -> RandomQuantizer:
  """Xavier-uniform projection; normal codes of unit length (section 3.1)."""
  projection_key, codebook_key = jax.random.split(key)
  init = jax.nn.initializers.xavier_uniform()
  codebook = jax.random.normal(codebook_key, (codes, code_dim))
  return RandomQuantizer(
    init(projection_key, (channels, code_dim)), _unit(codebook)
  )


def _unit(vectors: jax.Array) -> jax.Array:
  norm = jnp.linalg.norm(vectors, axis=-1, keepdims=True)
  return vectors / jnp.maximum(norm, 1e-12)


def quantize(
  frames: Float[Array, "B T F"], quantizer: RandomQuantizer
) -> Int[Array, "B T"]:
  """The code nearest to each projected frame, both of unit length.

  Equation 1 of section 3.1: between unit vectors the smallest distance is the
  largest product.
  """
  projected = frames @ quantizer.projection
  return jnp.argmax(_unit(projected) @ quantizer.codebook.T, axis=-1)


def span_mask(
  key: Key[Array, ""],
  valid: Bool[Array, "B T"],
  *,
  probability: float,
  length: int,
) -> Bool[Array, "B T"]:
  """Frames within `length` of a start; every frame may be one (section 3.2).

  Args:
    key: for the draw.
    valid: frames that hold speech; no others are masked.
    probability: that a span starts at a frame.
    length: of a span, in frames; spans may overlap.
  """
  starts = jax.random.bernoulli(key, probability, valid.shape)
  return spread(starts, length) & valid


def spread(starts: Bool[Array, "B T"], length: int) -> Bool[Array, "B T"]:
  """True from each start on for `length` frames."""
  frames = starts.shape[1]
  padded = jnp.pad(starts, ((0, 0), (length - 1, 0)))
  return jnp.any(
    jnp.stack([padded[:, i : i + frames] for i in range(length)]), axis=0
  )


def hide(
  key: Key[Array, ""], frames: Float[Array, "B T F"], mask: Bool[Array, "B T"]
) -> Float[Array, "B T F"]:
  """Replaces masked frames by normal noise (section 3.2)."""
  noise = _NOISE_STD * jax.random.normal(key, frames.shape, frames.dtype)
  return jnp.where(mask[:, :, None], noise, frames)


def phone_targets(
  phones: Int[Array, "B P"], *, names: int
) -> tuple[Float[Array, "B T names"], Float[Array, "B T"]]:
  """The share of each phone in a frame's four steps, and how many are known.

  Args:
    phones: numbers, or `UNKNOWN`.
    names: number of phones.

  Returns:
    Shares that sum to the known part of the frame, and that part, 0 to 1.
  """
  steps = jax.nn.one_hot(phones, names)  # UNKNOWN is a row of zeros.
  rows, count = phones.shape
  shares = steps.reshape(rows, count // 4, 4, names).mean(axis=2)
  return shares, shares.sum(-1)


class Sequence(NamedTuple):
  """What CTC aims at.

  Attributes:
    labels: 1 + phone number; 0 beyond the end.
    padding: 1.0 beyond the end.
    usable: whether all phones are known and fit.
  """

  labels: Int[Array, "B L"]
  padding: Float[Array, "B L"]
  usable: Bool[Array, "B"]


def phone_sequence(
  phones: Int[Array, "B P"], *, valid: Bool[Array, "B P"], places: int
) -> Sequence:
  """The phones of each row in their order, silence left out.

  A phone that follows itself without a pause counts once.

  Args:
    phones: numbers, or `UNKNOWN`.
    valid: steps within the recording.
    places: L; a row with more phones is not usable.
  """
  before = jnp.pad(phones[:, :-1], ((0, 0), (1, 0)), constant_values=UNKNOWN)
  first = (phones != before) & (phones != SILENCE) & (phones != UNKNOWN) & valid
  place = jnp.where(first, jnp.cumsum(first, axis=1) - 1, places)
  rows = jnp.arange(phones.shape[0])[:, None]
  labels = jnp.zeros((phones.shape[0], places), jnp.int32)
  labels = labels.at[rows, place].set(phones.astype(jnp.int32) + 1, mode="drop")
  count = first.sum(axis=1)
  unknown = jnp.any((phones == UNKNOWN) & valid, axis=1)
  return Sequence(
    labels,
    (jnp.arange(places) >= count[:, None]).astype(jnp.float32),
    ~unknown & (count <= places) & (count > 0),
  )


def ctc(
  logits: Float[Array, "B T K"],
  sequence: Sequence,
  *,
  valid: Bool[Array, "B T"],
) -> Float[Array, "B"]:
  """-log p of each row's labels (Graves et al. 2006); 0 where not usable.

  Rows whose labels cannot fit into their frames count as not usable, too.
  """
  # Two equal neighbours need a blank between them.
  labels = sequence.labels
  equal = (labels[:, 1:] == labels[:, :-1]) & (labels[:, 1:] > 0)
  needed = jnp.sum(1 - sequence.padding, axis=1) + equal.sum(axis=1)
  fits = sequence.usable & (needed <= valid.sum(axis=1))
  loss = optax.ctc_loss(
    logits, (~valid).astype(jnp.float32), labels, sequence.padding
  )
  return jnp.where(fits, loss, 0.0)
