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
  params = {"big": np.array([1e6], np.float32)}
  with pytest.raises(ValueError, match="big has values that are not finite"):
    weights.save_weights(path, params, config={}, kind="semantic")
  assert not path.exists()


def test_unknown_dtype(tmp_path):
  with pytest.raises(ValueError, match="'int4'"):
    weights.save_weights(
      tmp_path / "x", {}, config={}, kind="semantic", dtype="int4"
    )


def test_name_with_a_slash(tmp_path):
  with pytest.raises(ValueError, match="a/b"):
    weights.save_weights(
      tmp_path / "x", {"a/b": np.zeros(1)}, config={}, kind="semantic"
    )


def test_not_weights(tmp_path):
  path = tmp_path / "x"
  path.write_bytes(b"not safetensors at all")
  with pytest.raises(ValueError, match="not a safetensors file"):
    weights.load_weights(path)
  with pytest.raises(FileNotFoundError):
    weights.load_weights(tmp_path / "y")
