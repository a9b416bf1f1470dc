"""The Conformer: padding, direction, positions, scan, remat, precision."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from soundstorm_jax.layers import conformer, stacking
from soundstorm_jax.layers.config import ConformerConfig

B, T, D = 2, 12, 32
CONFIG = ConformerConfig(dim=D, layers=2, heads=2, ff_dim=48)
LENGTH = jnp.asarray([T, 7])
VALID = jnp.arange(T) < LENGTH[:, None]
X = jax.random.normal(jax.random.key(0), (B, T, D))


def make_params(config):
  init = jax.jit(conformer.Conformer(config).init)
  params = nn.unbox(init(jax.random.key(1), X, VALID))
  # Biases and scales away from 0 and 1, so that none of them goes untested.
  rng = np.random.default_rng(2)
  return jax.tree.map(
    lambda leaf: leaf + 0.1 * rng.normal(size=leaf.shape).astype(np.float32),
    params,
  )


@pytest.fixture(scope="module")
def params():
  return make_params(CONFIG)


@pytest.fixture(scope="module")
def apply():
  return jax.jit(conformer.Conformer(CONFIG).apply)


def test_block_equals_numpy(params, apply):
  """Two blocks written out in NumPy, one sequence with padding."""

  def norm(x, p):
    x = (x - x.mean(-1, keepdims=True)) / np.sqrt(
      x.var(-1, keepdims=True) + 1e-5
    )
    return x * p["scale"] + p["bias"]

  def silu(x):
    return x / (1 + np.exp(-x))

  def feed_forward(x, p):
    x = norm(x, p["norm"]) @ p["expand"]["kernel"] + p["expand"]["bias"]
    return silu(x) @ p["project"]["kernel"] + p["project"]["bias"]

  def rotate(x):
    half = x.shape[-1] // 2
    out = np.empty_like(x)
    for t in range(x.shape[0]):
      for i in range(half):
        angle = t * 10_000.0 ** (-i / half)
        c, s = np.cos(angle), np.sin(angle)
        out[t, :, i] = x[t, :, i] * c - x[t, :, i + half] * s
        out[t, :, i + half] = x[t, :, i + half] * c + x[t, :, i] * s
    return out

  def self_attention(x, p, length):
    x = norm(x, p["norm"])
    qkv = np.einsum("td,dchk->tchk", x, p["qkv"]["kernel"])
    q, k, v = rotate(qkv[:, 0]), rotate(qkv[:, 1]), qkv[:, 2]
    scores = np.einsum("thk,shk->hts", q, k) / np.sqrt(q.shape[-1])
    weights = np.exp(scores[:, :, :length])
    weights /= weights.sum(-1, keepdims=True)
    out = np.einsum("hts,shk->thk", weights, v[:length])
    return np.einsum("thk,hkd->td", out, p["out"]["kernel"])

  def convolution(x, p, length):
    x = norm(x, p["norm"])
    x = np.einsum("td,dcf->tcf", x, p["expand"]["kernel"])
    x = x + p["expand"]["bias"]
    x = x[:, 0] / (1 + np.exp(-x[:, 1]))
    x[length:] = 0
    out = np.zeros_like(x)
    for t in range(len(x)):
      for tap in range(5):
        if 0 <= t + tap - 2 < len(x):
          out[t] += x[t + tap - 2] * p["depthwise"][tap]
    out = silu(norm(out, p["depthwise_norm"]))
    return out @ p["project"]["kernel"] + p["project"]["bias"]

  layers = stacking.unstack_layers(jax.tree.map(np.asarray, params["params"]))
  for row in range(B):
    length = int(LENGTH[row])
    x = np.asarray(X[row], np.float64)
    for i in range(CONFIG.layers):
      p = layers[f"layer_{i}"]
      x = x + 0.5 * feed_forward(x, p["feed_forward_in"])
      x = x + self_attention(x, p["attention"], length)
      x = x + convolution(x, p["convolution"], length)
      x = x + 0.5 * feed_forward(x, p["feed_forward_out"])
      x = norm(x, p["norm"])
    np.testing.assert_allclose(
      apply(params, X, VALID)[row, :length], x[:length], atol=2e-4
    )


def test_padding_changes_nothing(params, apply):
  y = apply(params, X, VALID)
  garbage = jnp.where(VALID[:, :, None], X, 1e4)
  np.testing.assert_allclose(apply(params, garbage, VALID)[VALID], y[VALID])
  longer = apply(
    params,
    jnp.pad(garbage, ((0, 0), (0, 5), (0, 0)), constant_values=-1e4),
    jnp.pad(VALID, ((0, 0), (0, 5))),
  )
  np.testing.assert_allclose(longer[:, :T][VALID], y[VALID], atol=1e-5)
  shorter = apply(params, X[1:, :7], VALID[1:, :7])
  np.testing.assert_allclose(shorter[0], y[1, :7], atol=1e-5)


def test_all_valid_equals_no_mask(params, apply):
  np.testing.assert_allclose(
    apply(params, X, jnp.ones((B, T), bool)), apply(params, X), atol=1e-5
  )


def test_row_without_valid_frames_is_finite(params, apply):
  y = apply(params, X, VALID.at[1].set(False))
  assert np.isfinite(y).all()


def test_every_frame_sees_both_directions(params, apply):
  y = apply(params, X, VALID)
  for changed in (0, 6, 11):
    other = apply(params, X.at[0, changed].multiply(-1.0), VALID)
    moved = np.abs(other - y).max(-1) > 1e-6
    assert moved[0].all()
    assert not moved[1].any()


def test_refuses_another_width(params):
  with pytest.raises(ValueError, match="width must be 32, got 16"):
    conformer.Conformer(CONFIG).apply(params, X[:, :, :16])


@pytest.mark.parametrize("valid", [VALID, None])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_heads_in_a_loop_are_the_same_heads(params, valid, dtype):
  config = dataclasses.replace(CONFIG, dtype=dtype)

  def run(loop_heads):
    y = conformer.Conformer(config, loop_heads).apply(params, X, valid)
    return np.asarray(y, np.float32)

  at_once, looped = run(False), run(True)
  np.testing.assert_allclose(
    looped, at_once, atol=1e-5 if dtype == "float32" else 0.1
  )
  assert at_once.std() > 0.1


def test_stacking_and_unstacking_are_inverse(params):
  again = stacking.stack_layers(stacking.unstack_layers(params["params"]))
  jax.tree.map(np.testing.assert_array_equal, again, params["params"])


def test_unrolled_and_remat_equal_scanned(params):
  """Outputs and gradients of the four variants of one stack."""

  def loss(config, params):
    y = conformer.Conformer(config).apply({"params": params}, X, VALID)
    return (jnp.where(VALID[:, :, None], y, 0) ** 3).sum(), y

  def run(scan_layers, remat):
    config = dataclasses.replace(CONFIG, scan_layers=scan_layers, remat=remat)
    stacked = params["params"]
    given = stacked if scan_layers else stacking.unstack_layers(stacked)
    (_, y), gradient = jax.jit(
      jax.value_and_grad(lambda p: loss(config, p), has_aux=True)
    )(given)
    return y, gradient if scan_layers else stacking.stack_layers(gradient)

  expected = run(True, False)
  assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(expected))
  # Every parameter takes part.
  assert all((np.asarray(g) != 0).any() for g in jax.tree.leaves(expected[1]))
  for scan_layers, remat in ((False, False), (True, True), (False, True)):
    jax.tree.map(
      lambda a, b: np.testing.assert_allclose(a, b, atol=1e-3, rtol=1e-3),
      run(scan_layers, remat),
      expected,
    )


def test_unrolled_parameters_have_the_stacked_names():
  """`init` without scan gives what `unstack_layers` gives."""
  unrolled = jax.eval_shape(
    conformer.Conformer(dataclasses.replace(CONFIG, scan_layers=False)).init,
    jax.random.key(0),
    X,
  )
  scanned = jax.eval_shape(
    conformer.Conformer(CONFIG).init, jax.random.key(0), X
  )
  stacked = jax.eval_shape(stacking.stack_layers, nn.unbox(unrolled)["params"])
  shapes = [
    jax.tree.map(lambda s: s.shape, tree)
    for tree in (stacked, nn.unbox(scanned)["params"])
  ]
  assert shapes[0] == shapes[1]


def test_bfloat16_stays_near_float32_with_float32_parameters(params, apply):
  config = dataclasses.replace(CONFIG, dtype="bfloat16")
  fresh = jax.eval_shape(conformer.Conformer(config).init, jax.random.key(0), X)
  assert {leaf.dtype for leaf in jax.tree.leaves(fresh)} == {
    jnp.dtype("float32")
  }
  y = jax.jit(conformer.Conformer(config).apply)(params, X, VALID)
  assert y.dtype == jnp.bfloat16
  expected = apply(params, X, VALID)
  error = np.abs(y.astype(jnp.float32) - expected)[VALID]
  assert error.mean() < 0.02 * np.abs(expected).mean()


def test_dropout_needs_its_key_and_is_off_by_default(params):
  config = dataclasses.replace(CONFIG, dropout=0.5)
  model = conformer.Conformer(config)
  run = jax.jit(
    lambda key: model.apply(
      params, X, VALID, deterministic=False, rngs={"dropout": key}
    )
  )
  assert not np.allclose(run(jax.random.key(0)), run(jax.random.key(1)))
  np.testing.assert_array_equal(run(jax.random.key(0)), run(jax.random.key(0)))
  np.testing.assert_allclose(
    model.apply(params, X, VALID),
    conformer.Conformer(CONFIG).apply(params, X, VALID),
  )
