"""The random keys of samplers, one a row."""

import jax
from jaxtyping import Array, Key


def check_keys(keys: Key[Array, "*B"]) -> None:
  """Refuses keys whose draws depend on the batch around them.

  Raises:
    ValueError: they are not threefry keys.
  """
  implementation = str(jax.random.key_impl(keys))
  if implementation != "threefry2x32":
    raise ValueError(
      f"keys must be threefry2x32 keys, got {implementation} keys"
    )
