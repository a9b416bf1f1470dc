"""Token after token, with a cache, in one compiled loop.

Nothing here knows the network: it is a function from a cache and the token
before to the logits of the next one.

Noise is drawn per row and place, from the row's own key. So a row's tokens
depend neither on the rows around it, nor on how many there are, nor on where a
window begins (given equal logits).

Axes: B batch, N tokens of a window, V codes.
"""

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar, runtime_checkable

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int, Key

from soundstorm_jax.layers.keys import check_keys

Cache = TypeVar("Cache")


@runtime_checkable
class StepFn(Protocol[Cache]):
  """One step of the network."""

  def __call__(
    self,
    cache: Cache,
    *,
    previous: Int[Array, " B"],
    index: Int[Array, ""],
    write: Bool[Array, " B"],
  ) -> tuple[Float[Array, "B V"], Cache]:
    """Logits of token `index` over the codes that it can be.

    Args:
      cache: of the tokens before.
      previous: token index - 1; of no meaning at index 0.
      index: from 0.
      write: the rows whose cache lacks the previous token.
    """


def segment_ends(tokens: int, segments: int) -> tuple[int, ...]:
  """Where the parts of a window end, as equal as they can be."""
  ends = {-(-tokens * part // segments) for part in range(1, segments + 1)}
  return tuple(sorted(ends))


def decode_window(
  step_fn: StepFn[Cache],
  cache: Cache,
  *,
  known: Int[Array, "B N"],
  start: Int[Array, " B"],
  stop: Int[Array, " B"],
  keys: Key[Array, " B"],
  offset: Int[Array, " B"],
  temperature: float,
  ends: Sequence[int] = (),
  grow: Callable[[Cache, int], Cache] | None = None,
) -> Int[Array, "B N"]:
  """Samples the tokens from `start` to `stop` of each row.

  No step is made before the first row's start, or after the last one's stop;
  rows that have not begun, or are done, wait.

  Args:
    step_fn: of the network.
    cache: has token start - 1 of each row, and all before it.
    known: codes; what lies at or beyond `start` is not read.
    start: known tokens of each row.
    stop: where it ends; nothing is sampled if that is not after `start`.
    keys: one threefry key per row.
    offset: added to a token's index for its noise: where the row's window
      begins in the utterance.
    temperature: divides the logits.
    ends: ends of parts of the window, ascending; each has a loop of its own.
    grow: makes room in a cache for all tokens up to the end of a part.

  Returns:
    The known codes, the sampled ones, zeros beyond.

  Raises:
    ValueError: `ends` do not ascend to N, or the keys are not threefry keys.
  """
  check_keys(keys)
  count = known.shape[1]
  ends = tuple(ends) or (count,)
  if ends[-1] != count or ends != tuple(sorted({*ends})):
    raise ValueError(f"ends must ascend to {count}, got {ends}")
  codes = jnp.where(jnp.arange(count) < start[:, None], known, 0)
  first = jnp.min(jnp.where(start < stop, start, count), initial=count)
  last = jnp.max(jnp.where(start < stop, stop, 0), initial=0)

  def body(
    index: jax.Array, carry: tuple[jax.Array, Cache]
  ) -> tuple[jax.Array, Cache]:
    codes, cache = carry
    previous = lax.dynamic_index_in_dim(
      codes, jnp.maximum(index - 1, 0), 1, keepdims=False
    )
    # What was known to a row went into its cache in one pass, and must stay as
    # it is: when this loop began follows from the other rows.
    logits, cache = step_fn(
      cache, previous=previous, index=index, write=index > start
    )
    sampled = sample(
      logits, keys=keys, place=offset + index, temperature=temperature
    )
    here = lax.dynamic_index_in_dim(codes, index, 1, keepdims=False)
    wanted = (index >= start) & (index < stop)
    here = jnp.where(wanted, sampled, here)
    return lax.dynamic_update_index_in_dim(codes, here, index, 1), cache

  begin = 0
  for end in ends:
    cache = grow(cache, end) if grow else cache
    codes, cache = lax.fori_loop(
      jnp.clip(first, begin, end),
      jnp.clip(last, begin, end),
      body,
      (codes, cache),
    )
    begin = end
  return codes


def sample(
  logits: Float[Array, "B V"],
  *,
  keys: Key[Array, " B"],
  place: Int[Array, " B"],
  temperature: float,
) -> Int[Array, " B"]:
  """One code a row, in float32.

  Args:
    logits: over the codes.
    keys: one per row.
    place: of the token in its row's utterance; folded into the key.
    temperature: divides the logits.
  """

  def draw(key: jax.Array, place: jax.Array) -> jax.Array:
    return jax.random.gumbel(
      jax.random.fold_in(key, place), logits.shape[1:], jnp.float32
    )

  with jax.named_scope("sample"):
    noise = jax.vmap(draw)(keys, place)
    logits = logits.astype(jnp.float32) / temperature
    return jnp.argmax(logits + noise, axis=-1).astype(jnp.int32)
