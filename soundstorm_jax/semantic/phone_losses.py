"""Losses on phones: cross-entropy in every frame, and CTC on their order.

Pure functions of arrays.

Axes: B batch, T frames, P = 4 T steps of 10 ms, L places of a label sequence,
K the blank and the phones.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int

from soundstorm_jax.data.phones import PHONES, SILENCE, UNKNOWN
from soundstorm_jax.training.metrics import Mean, Metrics


def phone_metrics(
  phone_logits: Float[Array, "B T _"],
  ctc_logits: Float[Array, "B T K"],
  phones: Int[Array, "B P"],
  valid: Bool[Array, "B P"],
) -> Metrics:
  """Both losses, and how often the likeliest phone is right.

  Args:
    phone_logits: of the phones of every frame.
    ctc_logits: of the blank and the phones.
    phones: numbers, or `UNKNOWN`.
    valid: steps within the recording.

  Returns:
    "phone_loss" and "phone_top1" per known frame, and "ctc_loss" per phone, so
    that a long window does not outweigh the others.
  """
  shares, known = phone_targets(phones, names=len(PHONES))
  surprise = -(shares * jax.nn.log_softmax(phone_logits)).sum()
  right = jnp.take_along_axis(
    shares, phone_logits.argmax(-1)[..., None], -1
  ).sum()
  frames = valid[:, :: valid.shape[1] // ctc_logits.shape[1]]
  sequence = phone_sequence(phones, valid=valid, places=frames.shape[1])
  length = (1 - sequence.padding).sum(1)
  loss = ctc(ctc_logits, sequence, valid=frames)
  return {
    "phone_loss": Mean(surprise, known.sum()),
    "phone_top1": Mean(right, known.sum()),
    "ctc_loss": Mean(loss.sum(), (length * (loss > 0)).sum()),
  }


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
