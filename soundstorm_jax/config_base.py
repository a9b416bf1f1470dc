"""What every part's settings are made with: checks, and plain values.

A frozen dataclass becomes nested plain values and comes back without a slip:
unknown keys and values of another type are errors, so that a misspelt setting
is not silence. The Conformer's settings are here because several models have
one.
"""

import dataclasses
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

_T = TypeVar("_T")


def at_least(name: str, value: float, limit: float) -> None:
  """Raises ValueError with the value and the limit."""
  if not value >= limit:
    raise ValueError(f"{name} must be at least {limit}, got {value}")


def within(name: str, value: float, low: float, high: float) -> None:
  """Raises ValueError with the value and the limits."""
  if not low <= value <= high:
    raise ValueError(f"{name} must be in [{low}, {high}], got {value}")


def check_dtype(dtype: str) -> None:
  """Raises ValueError unless it is a dtype to compute in."""
  if dtype not in ("float32", "bfloat16"):
    raise ValueError(f"dtype must be float32 or bfloat16, got {dtype!r}")


@dataclasses.dataclass(frozen=True)
class ConformerConfig:
  """A bidirectional Conformer; the defaults are the paper's (section 4.1).

  Raises ValueError if the heads do not divide the model width into an even
  head width (rotary positions rotate pairs), or a size is not positive.
  """

  dim: int = 1024
  layers: int = 12
  heads: int = 16
  ff_dim: int = 4096
  conv_kernel: int = 5
  dropout: float = 0.0
  scan_layers: bool = True
  remat: bool = False
  dtype: str = "float32"

  def __post_init__(self):
    for name in ("dim", "layers", "heads", "ff_dim", "conv_kernel"):
      at_least(name, getattr(self, name), 1)
    if self.dim % (2 * self.heads):
      raise ValueError(
        f"dim must be a multiple of 2 * heads, got dim={self.dim}, "
        f"heads={self.heads}"
      )
    if self.conv_kernel % 2 == 0:
      raise ValueError(f"conv_kernel must be odd, got {self.conv_kernel}")
    within("dropout", self.dropout, 0.0, 0.99)
    check_dtype(self.dtype)


def from_mapping(cls: type[_T], values: Mapping[str, Any]) -> _T:
  """Builds a frozen config, nested ones included, from plain values.

  Args:
    cls: the dataclass to build.
    values: field values; nested dataclasses as mappings, tuples as sequences.

  Raises:
    ValueError: a key is not a field, or a value has another type.
  """
  hints = typing.get_type_hints(cls)
  unknown = sorted(set(values) - set(hints))
  if unknown:
    raise ValueError(
      f"{cls.__name__} has no field {', '.join(unknown)}; it has "
      f"{', '.join(sorted(hints))}"
    )
  return cls(
    **{
      name: _convert(f"{cls.__name__}.{name}", hints[name], value)
      for name, value in values.items()
    }
  )


def _convert(name: str, hint: Any, value: Any) -> Any:
  if dataclasses.is_dataclass(hint):
    if isinstance(value, hint):
      return value
    if not isinstance(value, Mapping):
      raise ValueError(f"{name} must be a mapping, got {value!r}")
    return from_mapping(hint, value)
  if isinstance(hint, types.GenericAlias):
    if isinstance(value, str) or not hasattr(value, "__iter__"):
      raise ValueError(f"{name} must be a sequence, got {value!r}")
    item = typing.get_args(hint)[0]
    return tuple(_convert(name, item, v) for v in value)
  if hint is float and type(value) is int:
    return float(value)
  if type(value) is not hint:
    raise ValueError(f"{name} must be {hint.__name__}, got {value!r}")
  return value


def to_mapping(config: Any) -> dict[str, Any]:
  """The inverse of `from_mapping`: nested plain values, fit for JSON."""
  return dataclasses.asdict(config)
