"""Attention: the one place where it is computed, whole or from a cache.

Axes: B batch, T query and S key frames, H heads, K head width, N = B * H.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

# Finite, so that a row of nothing else is not NaN.
MASKED_SCORE = -1e30


class LayerCache(NamedTuple):
  """What a layer keeps of earlier slots."""

  key: Float[Array, "N S K"]
  value: Float[Array, "N S K"]


def attention(
  query: Float[Array, "B T H K"],
  key: Float[Array, "B S H K"],
  value: Float[Array, "B S H K"],
  *,
  valid: Bool[Array, "B S"] | None,
  bias: Float[Array, "H T S"] | None = None,
  loop_heads: bool = False,
) -> Float[Array, "B T H K"]:
  """Scaled dot-product attention.

  The softmax is in float32 whatever the inputs' dtype. A row without a single
  valid frame attends to all alike, which is finite.

  Args:
    query: queries.
    key: keys.
    value: values.
    valid: the frames that may be attended to; None for all.
    bias: added to the scores.
    loop_heads: one head after the other. The numbers are the same; memory
      holds the scores of one head, which is faster on CPU, where those of all
      do not fit the cache, and slower elsewhere.
  """
  query = query * query.shape[-1] ** -0.5
  # Heads before frames: XLA on CPU is faster when the batch axes of both
  # products lead than it is with `jax.nn.dot_product_attention`'s layout.
  if loop_heads and bias is not None:
    raise ValueError("loop_heads takes no bias, got one")
  if loop_heads:
    heads = tuple(x.transpose(2, 0, 1, 3) for x in (query, key, value))
    x = jax.lax.map(lambda head: _attend(*head, valid=valid), heads)
    return x.transpose(1, 2, 0, 3)
  query, key, value = (x.transpose(0, 2, 1, 3) for x in (query, key, value))
  x = _attend(
    query,
    key,
    value,
    valid=None if valid is None else valid[:, None, :],
    bias=bias,
  )
  return x.transpose(0, 2, 1, 3)


def _attend(
  query: Float[Array, "*batch T K"],
  key: Float[Array, "*batch S K"],
  value: Float[Array, "*batch S K"],
  *,
  valid: Bool[Array, "*#batch S"] | None,
  bias: Float[Array, "H T S"] | None = None,
) -> Float[Array, "*batch T K"]:
  """Attention of scaled queries; every axis but the last two is a batch."""
  dtype = query.dtype
  scores = jnp.einsum(
    "...tk,...sk->...ts", query, key, preferred_element_type=jnp.float32
  )
  if bias is not None:
    scores = scores + bias
  if valid is not None:
    scores = jnp.where(valid[..., None, :], scores, MASKED_SCORE)
  top = jax.lax.stop_gradient(scores.max(-1, keepdims=True))
  weights = jnp.exp(scores - top)
  # Divided after the product, over K columns and not over T.
  x = jnp.einsum(
    "...ts,...sk->...tk",
    weights.astype(dtype),
    value,
    preferred_element_type=jnp.float32,
  )
  return (x / weights.sum(-1, keepdims=True)).astype(dtype)


def cached_attention(
  query: Float[Array, "N K"],
  cache: LayerCache,
  *,
  bias: Float[Array, "N S"],
) -> Float[Array, "N K"]:
  """Attention of one query a row and head to all slots of the cache.

  Args:
    query: of the new token.
    cache: the new token's own key and value included.
    bias: added to the scores, `MASKED_SCORE` where there is nothing to see.
  """
  scores = jnp.einsum(
    "nk,nsk->ns",
    query * query.shape[-1] ** -0.5,
    cache.key,
    preferred_element_type=jnp.float32,
  )
  scores = scores + bias
  weights = jnp.exp(scores - scores.max(-1, keepdims=True))
  x = jnp.einsum(
    "ns,nsk->nk",
    weights.astype(query.dtype),
    cache.value,
    preferred_element_type=jnp.float32,
  )
  return (x / weights.sum(-1, keepdims=True)).astype(query.dtype)
