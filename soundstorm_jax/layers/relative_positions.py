"""Buckets of relative positions, as T5 has them (arXiv 1910.10683, 2.1)."""

import math

import jax.numpy as jnp
from jaxtyping import Array, Int


def bucket_starts(buckets: int, max_distance: int) -> tuple[int | float, ...]:
  """The smallest distance of each bucket but the first.

  Half of the buckets hold one distance each; the others widen by one factor,
  the last of them from `max_distance` on at the latest.
  """
  exact = buckets // 2
  starts: list[int | float] = []
  for distance in range(1, max_distance + 1):
    bucket = distance
    if distance >= exact:
      ratio = math.log(distance / exact) / math.log(max_distance / exact)
      # Rounding must not move a distance that is a bucket's very start.
      bucket = exact + math.floor(ratio * (buckets - exact) + 1e-9)
    while len(starts) < min(bucket, buckets - 1):
      starts.append(distance)
  return tuple(starts)


def position_buckets(
  distance: Int[Array, "*S"],
  *,
  buckets: int,
  max_distance: int,
  both_ways: bool,
) -> Int[Array, "*S"]:
  """The bucket of each distance, from 0.

  Args:
    distance: how much earlier the key is than the query.
    buckets: their number.
    max_distance: from here on there is one bucket.
    both_ways: keys may be later too, and have half of the buckets; otherwise
      later ones count as distance 0.
  """
  half = buckets // 2 if both_ways else buckets
  starts = bucket_starts(half, max_distance)
  # Comparisons in place of a logarithm: exact, and faster than a lookup.
  size = jnp.abs(distance) if both_ways else distance
  bucket = sum((size >= start).astype(jnp.int32) for start in starts)
  return bucket + half * (distance < 0) if both_ways else bucket
