"""Integer data positions: what example k of a training run is, for any k.

A run consumes global positions k = 0, 1, 2, ...; batch `s` of a run with
global batch size G holds the positions s * G to s * G + G - 1, and each host
loads its own contiguous slice of them. What a position holds is a pure
function of (seed, k): its epoch is k // size, and a keyed permutation of the
epoch names the example. So resuming is starting at a later batch, there is no
iterator to checkpoint, no shuffle buffer, and the number of hosts may change
between runs.

`pipeline.py` works them out in TensorFlow, on the host; `shuffled` here does
within a compiled step. Their permutations differ.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, Key, UInt32

# Of a swap-or-not shuffle, for every bit of a number: enough that it passes
# for random (not for a cipher).
_ROUNDS_PER_BIT = 4


class HostSlice(NamedTuple):
  """The rows of every global batch that this host loads."""

  batch_size: int
  first: int
  rows: int

  def positions(self, batch: int) -> range:
    """The global positions of this host in batch number `batch`."""
    start = batch * self.batch_size + self.first
    return range(start, start + self.rows)


def host_slice(
  batch_size: int, *, process_index: int, process_count: int
) -> HostSlice:
  """Splits a global batch evenly over hosts.

  Raises:
    ValueError: the hosts do not divide the batch, or there is no such host.
  """
  if batch_size < 1 or batch_size % process_count:
    raise ValueError(
      f"batch_size must be a positive multiple of the {process_count} hosts, "
      f"got {batch_size}"
    )
  if not 0 <= process_index < process_count:
    raise ValueError(
      f"process_index must be in [0, {process_count}), got {process_index}"
    )
  rows = batch_size // process_count
  return HostSlice(batch_size, process_index * rows, rows)


def shuffled(
  position: UInt32[Array, ""], size: int, *, key: Key[Array, ""]
) -> Int[Array, ""]:
  """The entry at a global position: each one once in every epoch.

  A swap-or-not shuffle (Hoang, Morris and Rogaway, CRYPTO 2012): in each round
  the numbers are paired off, and the two of a pair change places or stay. Both
  see the same toss, so that a round is a permutation, whatever the size; no
  table is kept, and no epoch is shuffled beyond the one number asked for.

  Args:
    position: global.
    size: entries in an epoch; at most 2**31.
    key: of the run; every epoch is permuted differently.

  Returns:
    A number in [0, size).
  """
  count = jnp.uint32(size)
  epoch, number = position // count, position % count
  rounds = _ROUNDS_PER_BIT * max(1, (size - 1).bit_length())
  draws = jax.random.bits(jax.random.fold_in(key, epoch), (rounds, 2))

  def swap(
    number: UInt32[Array, ""], draw: UInt32[Array, "2"]
  ) -> tuple[UInt32[Array, ""], None]:
    partner = (draw[0] % count + count - number) % count
    toss = _mix(jnp.maximum(number, partner) ^ draw[1])
    return jnp.where(toss >> 31, partner, number), None

  # Unrolled in part: all at once takes seconds to compile, and one by one a
  # launch each.
  number, _ = jax.lax.scan(swap, number, draws, unroll=8)
  return number.astype(jnp.int32)


def _mix(value: UInt32[Array, ""]) -> UInt32[Array, ""]:
  """Every bit of the input moves every bit of the output (MurmurHash3)."""
  value = (value ^ (value >> 16)) * jnp.uint32(0x85EBCA6B)
  value = (value ^ (value >> 13)) * jnp.uint32(0xC2B2AE35)
  return value ^ (value >> 16)
