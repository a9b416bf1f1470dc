"""Convolutions against their definitions, causal ones and others."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from soundstorm_jax.layers.convolutions import (
  DepthwiseConv,
  Downsample,
  GroupedConv,
  Upsample,
  depthwise_convolution,
)


def _random(*shape, seed=0):
  values = np.random.default_rng(seed).normal(size=shape)
  return jnp.asarray(values, jnp.float32)


@pytest.mark.parametrize("blocks", [2, 4])
@pytest.mark.parametrize("groups", [1, 3])
def test_downsample_is_a_causal_strided_convolution(blocks, groups):
  x = _random(2, 12, 6)
  layer = Downsample(9, 4, blocks=blocks, groups=groups)
  params = nn.unbox(layer.init(jax.random.key(0), x))
  slow = _slow_conv(
    x,
    params["params"]["kernel"],
    before=4 * (blocks - 1),
    groups=groups,
    stride=4,
  )
  np.testing.assert_allclose(layer.apply(params, x), slow, atol=1e-5)


@pytest.mark.parametrize("blocks", [2, 4])
@pytest.mark.parametrize("groups", [1, 3])
def test_upsample_is_a_causal_transposed_convolution(blocks, groups):
  x = _random(2, 3, 6)
  layer = Upsample(9, 4, blocks=blocks, groups=groups)
  params = nn.unbox(layer.init(jax.random.key(0), x))
  kernel = np.asarray(params["params"]["kernel"])
  inner, outer = 6 // groups, 9 // groups
  slow = np.zeros((2, 4 * (2 + blocks), 9), np.float32)
  for t in range(3):
    for g in range(groups):
      into = slice(g * outer, (g + 1) * outer)
      slow[:, 4 * t : 4 * (t + blocks), into] += np.einsum(
        "bc,kce->bke",
        np.asarray(x[:, t, g * inner : (g + 1) * inner]),
        kernel[..., into],
      )
  np.testing.assert_allclose(layer.apply(params, x), slow[:, :12], atol=1e-5)


@pytest.mark.parametrize(("kernel", "groups"), [(1, 1), (3, 1), (3, 2)])
def test_grouped_convolutions_are_causal_convolutions(kernel, groups):
  x = _random(2, 7, 6)
  layer = GroupedConv(8, kernel, groups=groups)
  params = nn.unbox(layer.init(jax.random.key(0), x))
  slow = _slow_conv(
    x, params["params"]["kernel"], before=kernel - 1, groups=groups
  )
  np.testing.assert_allclose(layer.apply(params, x), slow, atol=1e-5)


def test_depthwise_convolutions_keep_channels_apart():
  x = _random(2, 9, 5)
  layer = DepthwiseConv(3, dilation=2)
  params = nn.unbox(layer.init(jax.random.key(0), x))
  kernel = np.zeros((5, 1, 5), np.float32)
  kernel[::2] = params["params"]["kernel"]
  slow = _slow_conv(x, kernel, before=4, groups=5)
  np.testing.assert_allclose(layer.apply(params, x), slow, atol=1e-5)


def _slow_conv(x, kernel, *, before, groups, stride=1):
  """A convolution by its definition; each group of channels by itself."""
  kernel = np.asarray(kernel)
  width, inner, features = kernel.shape
  outer = features // groups
  padded = np.pad(np.asarray(x), ((0, 0), (before, 0), (0, 0)))
  out = []
  for start in range(0, x.shape[1], stride):
    seen = padded[:, start : start + width]
    out.append(
      np.concatenate(
        [
          np.einsum(
            "bkc,kce->be",
            seen[..., g * inner : (g + 1) * inner],
            kernel[..., g * outer : (g + 1) * outer],
          )
          for g in range(groups)
        ],
        axis=-1,
      )
    )
  return np.stack(out, axis=1)


def test_depthwise_convolution_is_a_convolution():
  x = jax.random.normal(jax.random.key(0), (2, 12, 32))
  kernel = jax.random.normal(jax.random.key(3), (5, 32))
  y = depthwise_convolution(x, kernel)
  for channel in (0, 17):
    np.testing.assert_allclose(
      y[0, :, channel],
      np.convolve(x[0, :, channel], kernel[::-1, channel], mode="same"),
      atol=1e-5,
    )
