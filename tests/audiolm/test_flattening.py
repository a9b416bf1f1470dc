"""Order and ids of a flattened sequence, and where windows begin."""

import jax.numpy as jnp
import numpy as np
import pytest

from soundstorm_jax.audiolm.flattening import (
  Window,
  flatten,
  unflatten,
  windows,
)

B, T, Q, V = 2, 5, 3, 7


def test_flattened_as_by_a_loop():
  tokens = np.random.default_rng(0).integers(0, V, (B, T, Q), np.int32)
  ids = flatten(jnp.asarray(tokens), codes=V)
  for row in range(B):
    expected = []
    for frame in tokens[row]:
      for level, code in enumerate(frame):
        expected.append(level * V + code)
    assert ids[row].tolist() == expected
  np.testing.assert_array_equal(unflatten(ids, levels=Q, codes=V), tokens)


def test_part_of_a_frame_is_refused():
  with pytest.raises(ValueError, match="multiple of 3, got 4"):
    unflatten(jnp.zeros((1, 4), jnp.int32), levels=3, codes=V)


@pytest.mark.parametrize(
  ("frames", "expected"),
  [
    (1, [(0, 0)]),
    (500, [(0, 0)]),
    (501, [(0, 0), (350, 150)]),
    (850, [(0, 0), (350, 150)]),
    (851, [(0, 0), (350, 150), (700, 150)]),
    (1500, [(0, 0), (350, 150), (700, 150), (1050, 150)]),
  ],
)
def test_windows_of_ten_seconds_that_share_three(frames, expected):
  assert windows(frames, window=500, overlap=150) == [
    Window(*values) for values in expected
  ]


@pytest.mark.parametrize("overlap", [0, 1, 3])
def test_windows_decode_every_frame_once(overlap):
  for frames in range(1, 40):
    seen = []
    for start, known in windows(frames, window=5, overlap=overlap):
      seen += range(start + known, min(start + 5, frames))
    assert seen == list(range(frames))


def test_windows_that_get_nowhere_are_refused():
  assert windows(5, window=5, overlap=9) == [Window(0, 0)]
  with pytest.raises(ValueError, match="less than 5 frames, got 5"):
    windows(6, window=5, overlap=5)
