"""Buckets of relative positions, against T5's definition."""

import math

import jax.numpy as jnp
import numpy as np
import pytest

from soundstorm_jax.layers.relative_positions import position_buckets


def bucket_by_hand(distance, buckets, farthest, *, both_ways):
  """T5's definition, distance by distance."""
  offset = 0
  if both_ways:
    buckets //= 2
    offset = buckets if distance < 0 else 0
    distance = abs(distance)
  if distance < buckets // 2:
    return offset + max(distance, 0)
  share = math.log(distance / (buckets // 2))
  share /= math.log(farthest / (buckets // 2))
  bucket = buckets // 2 + int(share * (buckets - buckets // 2) + 1e-9)
  return offset + min(bucket, buckets - 1)


@pytest.mark.parametrize("both_ways", [False, True])
@pytest.mark.parametrize(("buckets", "farthest"), [(32, 128), (8, 20)])
def test_buckets_are_t5s(buckets, farthest, both_ways):
  distances = np.arange(-300, 301)
  found = position_buckets(
    jnp.asarray(distances),
    buckets=buckets,
    max_distance=farthest,
    both_ways=both_ways,
  )
  expected = [
    bucket_by_hand(int(d), buckets, farthest, both_ways=both_ways)
    for d in distances
  ]
  np.testing.assert_array_equal(found, expected)
  # No distance is later and zero.
  assert len(set(expected)) == buckets - both_ways
