"""Files of weights: what goes in comes out, and nothing else is accepted."""

import numpy as np
import pytest

from soundstorm_jax import weights


def tree():
  rng = np.random.default_rng(0)
  return {
    "a": {"b": {"kernel": rng.normal(size=(3, 4)).astype(np.float32)}},
    "c": rng.normal(size=(2,)).astype(np.float32),
    # A view in another order: what is written must be its values, in order.
    "d": rng.normal(size=(2, 5)).astype(np.float32).T,
  }


@pytest.mark.parametrize(
  ("dtype", "tolerance"), [("float32", 0), ("float16", 1e-3)]
)
def test_round_trip(tmp_path, dtype, tolerance):
  path = tmp_path / "new" / "x.safetensors"
  weights.save_weights(
    path,
    tree(),
    config={"dim": 4, "strides": (2, 4)},
    kind="soundstorm",
    dtype=dtype,
    metadata={"step": "7"},
  )
  loaded = weights.load_weights(path)
  assert loaded.kind == "soundstorm"
  assert loaded.config == {"dim": 4, "strides": [2, 4]}
  assert loaded.metadata == {"step": "7"}
  assert set(loaded.params) == {"a", "c", "d"}
  for ours, theirs in (
    (loaded.params["a"]["b"]["kernel"], tree()["a"]["b"]["kernel"]),
    (loaded.params["c"], tree()["c"]),
    (loaded.params["d"], tree()["d"]),
  ):
    assert ours.dtype == np.float32
    np.testing.assert_allclose(ours, theirs, rtol=tolerance)
  assert [p.name for p in path.parent.iterdir()] == ["x.safetensors"]


def test_int8_rounds_by_blocks_of_64(tmp_path):
  rng = np.random.default_rng(0)
  # Rows of very different sizes: one scale for all would lose the small ones.
  sizes = 10.0 ** np.arange(-3, 2)[:, None, None]
  matrix = (sizes * rng.normal(size=(5, 4, 33))).astype(np.float32)
  vector = rng.normal(size=50).astype(np.float32)
  path = tmp_path / "x"
  params = {"m": {"kernel": matrix}, "bias": vector, "none": np.zeros((2, 3))}
  weights.save_weights(path, params, config={}, kind="soundstorm", dtype="int8")
  loaded = weights.load_weights(path).params
  kernel = loaded["m"]["kernel"]
  assert kernel.dtype == np.float32
  flat, ours = matrix.ravel(), kernel.ravel()
  for start in range(0, flat.size, 64):
    block = slice(start, start + 64)
    # Half a step of 127, and what half precision does to the scale.
    limit = np.abs(flat[block]).max() / 127 * 0.502 + 1e-7
    assert np.abs(flat[block] - ours[block]).max() <= limit
  np.testing.assert_allclose(loaded["bias"], vector, rtol=1e-3)
  np.testing.assert_array_equal(loaded["none"], np.zeros((2, 3)))
  assert set(loaded) == {"m", "bias", "none"}


def test_fingerprint_follows_the_content(tmp_path):
  paths = [tmp_path / name for name in ("1", "2", "3")]
  for path, scale in zip(paths, (1, 1, 2), strict=True):
    params = {"a": np.full(3, scale, np.float32)}
    weights.save_weights(path, params, config={}, kind="semantic")
  one, same, other = map(weights.fingerprint, paths)
  assert one == same != other
  assert len(one) == 16
  renamed = tmp_path / "4"
  params = {"b": np.full(3, 1, np.float32)}
  weights.save_weights(renamed, params, config={}, kind="semantic")
  resized = tmp_path / "5"
  params = {"a": np.full(3, 1, np.float32)}
  weights.save_weights(resized, params, config={"dim": 1}, kind="semantic")
  assert len({one, *map(weights.fingerprint, (renamed, resized))}) == 3


def test_what_half_precision_cannot_hold(tmp_path):
  path = tmp_path / "x"
  for dtype, big in (("float16", [1e6]), ("int8", [[1e9, 0.0]])):
    params = {"big": np.array(big, np.float32)}
    with pytest.raises(ValueError, match="big has values that are not finite"):
      weights.save_weights(
        path, params, config={}, kind="semantic", dtype=dtype
      )
  assert not path.exists()


def test_unknown_dtype(tmp_path):
  with pytest.raises(ValueError, match="'int4'"):
    weights.save_weights(
      tmp_path / "x", {}, config={}, kind="semantic", dtype="int4"
    )


@pytest.mark.parametrize("name", ["a/b", "a:scales"])
def test_name_with_a_sign_of_ours(tmp_path, name):
  with pytest.raises(ValueError, match=name):
    weights.save_weights(
      tmp_path / "x", {name: np.zeros(1)}, config={}, kind="semantic"
    )


def test_not_weights(tmp_path):
  path = tmp_path / "x"
  path.write_bytes(b"not safetensors at all")
  with pytest.raises(ValueError, match="not a safetensors file"):
    weights.load_weights(path)
  with pytest.raises(FileNotFoundError):
    weights.load_weights(tmp_path / "y")
