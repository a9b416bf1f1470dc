"""Random keys are derived, never stored.

root seed -> named stream -> step (folded in by the step) -> example, so that
neither a resume nor the number of hosts changes what is drawn. Data go by the
example's position in the run (data/positions.py), which says its step too.
"""

import zlib

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key


def stream(seed: int, *, name: str) -> Key[Array, ""]:
  """The key of one use of randomness, such as "init", "train" or "eval"."""
  return jax.random.fold_in(
    jax.random.key(seed), zlib.crc32(name.encode()) & 0x7FFFFFFF
  )


def by_example(key: Key[Array, ""], examples: int) -> Key[Array, " B"]:
  """A key for each example of a batch, whatever the number of the others."""
  return jax.vmap(lambda row: jax.random.fold_in(key, row))(
    jnp.arange(examples)
  )
