"""Settings: what every run has, and how settings are checked and read.

A frozen dataclass becomes nested plain values and comes back without a slip:
unknown keys and values of another type are errors, so that a misspelt setting
is not silence. The library sees only these dataclasses; a program reads a
config file and turns it into them at its edge. Each system has its own
settings, in its own `config.py`.
"""

import argparse
import dataclasses
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

_T = TypeVar("_T")
_Value = TypeVar("_Value")


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
  if hint is Any:
    return value
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


def listed(
  convert: Callable[[str], _Value],
) -> Callable[[str], tuple[_Value, ...]]:
  """The `type` of an argument like 1,4,16; an empty text has no values.

  Args:
    convert: makes a value of its text, or raises ValueError.

  Returns:
    A parser, whose complaint argparse shows beside the argument's name.
  """

  def parse(text: str) -> tuple[_Value, ...]:
    try:
      return tuple(convert(part) for part in text.split(",")) if text else ()
    except ValueError as error:
      raise argparse.ArgumentTypeError(
        f"{text!r} must be values parted by commas: {error}"
      ) from error

  return parse


def _name(text: str) -> str:
  """A name without blanks around it.

  Raises:
    ValueError: nothing is left.
  """
  if not text.strip():
    raise ValueError("an empty name")
  return text.strip()


# The `type` of an argument like A,B,C.
listed_names = listed(_name)


@dataclasses.dataclass(frozen=True)
class OptimizerConfig:
  """AdamW with linear warm-up, then a cosine to `final_lr_ratio * lr`."""

  lr: float = 3e-4
  warmup_steps: int = 1000
  final_lr_ratio: float = 0.1
  b1: float = 0.9
  b2: float = 0.95
  weight_decay: float = 0.01
  clip_norm: float = 1.0
  ema_decay: float = 0.999
  accumulate: int = 1

  def __post_init__(self):
    if not self.lr > 0:
      raise ValueError(f"lr must be above 0, got {self.lr}")
    at_least("warmup_steps", self.warmup_steps, 0)
    within("final_lr_ratio", self.final_lr_ratio, 0.0, 1.0)
    within("b1", self.b1, 0.0, 1.0)
    within("b2", self.b2, 0.0, 1.0)
    within("ema_decay", self.ema_decay, 0.0, 1.0)
    at_least("weight_decay", self.weight_decay, 0)
    at_least("accumulate", self.accumulate, 1)
    if not self.clip_norm > 0:
      raise ValueError(f"clip_norm must be above 0, got {self.clip_norm}")


@dataclasses.dataclass(frozen=True)
class DataConfig:
  """Where training reads from, and how examples are cut.

  Attributes:
    path: a folder, or several with commas between: token datasets, or a file of
      `soundstorm_jax.pack`; or audio, as the system needs it.
    split: the training split of a token dataset.
    eval_split: its held-out split.
    held_out_speakers: for audio folders, speakers kept for evaluation.
    window_seconds: the longest training window; 30 s in the paper.
    min_window_seconds: the shortest; the paper draws windows of 0-30 s. An
      utterance that is shorter is taken whole.
    eval_batches: at most this many evaluation batches.
    workers: parallel reads.
    cache: keep decoded audio in memory.
    on_device: keep all training data on the device and cut windows there,
      without TensorFlow: the codec's audio and, always, packed tokens.
  """

  path: str = ""
  split: str = "train"
  eval_split: str = "test"
  held_out_speakers: tuple[str, ...] = ()
  window_seconds: float = 30.0
  min_window_seconds: float = 0.0
  eval_batches: int = 8
  workers: int = 2
  cache: bool = False
  on_device: bool = False

  def __post_init__(self):
    if self.path.endswith(".safetensors"):
      object.__setattr__(self, "on_device", True)
    if not self.window_seconds > 0:
      raise ValueError(
        f"window_seconds must be above 0, got {self.window_seconds}"
      )
    within(
      "min_window_seconds", self.min_window_seconds, 0.0, self.window_seconds
    )
    at_least("eval_batches", self.eval_batches, 1)
    at_least("workers", self.workers, 1)


@dataclasses.dataclass(frozen=True)
class MeshConfig:
  """Devices along each mesh axis; -1 takes what is left."""

  data: int = -1
  fsdp: int = 1
  tensor: int = 1

  def __post_init__(self):
    sizes = (self.data, self.fsdp, self.tensor)
    if sizes.count(-1) > 1 or any(s < 1 and s != -1 for s in sizes):
      raise ValueError(
        "mesh sizes must be positive, with at most one -1, got "
        f"data={self.data}, fsdp={self.fsdp}, tensor={self.tensor}"
      )


@dataclasses.dataclass(frozen=True)
class TrainConfig:
  """One training run: what every run has, and one system's own settings.

  Attributes:
    task: which of the systems is trained; `train.SYSTEMS` names them.
    system: that system's settings (`soundstorm.config` and its like); plain
      values until `train.read_config` has made them its dataclass.
    steps_per_call: on data on the device; fewer where something is due.
  """

  task: str = ""
  system: Any = None
  seed: int = 0
  steps: int = 100_000
  batch_size: int = 32
  log_every: int = 50
  eval_every: int = 1000
  save_every: int = 1000
  steps_per_call: int = 20
  sample_every: int = 0
  keep_checkpoints: int = 3
  max_skipped_in_a_row: int = 10
  mesh: MeshConfig = MeshConfig()
  data: DataConfig = DataConfig()
  optimizer: OptimizerConfig = OptimizerConfig()

  def __post_init__(self):
    for name in (
      "steps",
      "batch_size",
      "log_every",
      "eval_every",
      "save_every",
      "steps_per_call",
      "keep_checkpoints",
      "max_skipped_in_a_row",
    ):
      at_least(name, getattr(self, name), 1)
    at_least("sample_every", self.sample_every, 0)
    if self.batch_size % self.optimizer.accumulate:
      raise ValueError(
        f"batch_size must be a multiple of optimizer.accumulate, got "
        f"{self.batch_size} and {self.optimizer.accumulate}"
      )
