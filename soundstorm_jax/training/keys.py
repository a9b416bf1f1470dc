"""Random keys are derived, never stored.

root seed -> named stream -> step (folded in by the step) -> example, so that
neither a resume nor the number of hosts changes what is drawn. Data go by the
example's position in the run (data/positions.py), which says its step too.
"""

import zlib

import jax
from jaxtyping import Array, Key


def stream(seed: int, *, name: str) -> Key[Array, ""]:
  """The key of one use of randomness, such as "init", "train" or "eval"."""
  return jax.random.fold_in(
    jax.random.key(seed), zlib.crc32(name.encode()) & 0x7FFFFFFF
  )
