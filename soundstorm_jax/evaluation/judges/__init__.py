"""Judges of speech: recognisers, estimators of quality, of voices.

A judge is anything with the attributes and the call of `Judge`. Those here run
other people's networks, from packages that carry their weights; each is in its
own module, and its packages are imported when it is made.

Axes: N and M samples.
"""

import importlib
import importlib.metadata
import sys
import types
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float

# Of all audio that judges hear, in Hz.
RATE = 16000
NAMES = ("moonshine", "dnsmos", "distillmos", "resemblyzer")


class Sample(NamedTuple):
  """What one row of the table has of one utterance; audio is at `RATE`.

  Attributes:
    utterance: id of what is said.
    audio: what is judged.
    text: what is said, as transcribed.
    recording: the utterance as recorded.
    voice: the start of a recording of the voice that it should have.
    stranger: likewise, of a voice that it should not have.
    skip: samples at the start that may be the prompt's.
  """

  utterance: str
  audio: Float[np.ndarray, "N"]
  text: str
  recording: Float[np.ndarray, "_"]
  voice: Float[np.ndarray, "_"]
  stranger: Float[np.ndarray, "_"]
  skip: int

  @property
  def rest(self) -> Float[np.ndarray, "M"]:
    """The audio after what may be the prompt's."""
    return self.audio[self.skip :]


class Score(NamedTuple):
  """A share of a figure, which is the sum of totals over the sum of counts."""

  total: float
  count: float


class Judgement(NamedTuple):
  """What a judge says of one sample.

  Attributes:
    scores: by the names of the judge's columns, those that apply.
    heard: the words that it understood, if it listens for words.
  """

  scores: Mapping[str, Score]
  heard: str = ""


class Column(NamedTuple):
  """What one figure means.

  Attributes:
    name: in JSON.
    title: in tables.
    digits: after the point.
    note: what is measured, and of what.
  """

  name: str
  title: str
  digits: int
  note: str


@runtime_checkable
class Judge(Protocol):
  """Judges samples, one at a time.

  Attributes:
    name: with version.
    columns: what it measures.
  """

  name: str
  columns: Sequence[Column]

  def __call__(self, sample: Sample) -> Judgement: ...


def make(names: Sequence[str] = NAMES) -> list[Judge]:
  """The judges of these names, in the order given.

  Raises:
    ImportError: their packages are not installed.
    ValueError: there is no such judge, or none is named.
  """
  unknown = [name for name in names if name not in NAMES]
  if unknown or not names:
    raise ValueError(
      f"judges must be of {', '.join(NAMES)}, got {','.join(names)!r}"
    )
  return [_make(name) for name in names]


def _make(name: str) -> Judge:
  match name:
    case "moonshine":
      from soundstorm_jax.evaluation.judges.words import Moonshine

      return Moonshine()
    case "dnsmos":
      from soundstorm_jax.evaluation.judges.quality import Dnsmos

      return Dnsmos()
    case "distillmos":
      from soundstorm_jax.evaluation.judges.quality import DistillMos

      return DistillMos()
    case _:
      from soundstorm_jax.evaluation.judges.voice import Resemblyzer

      return Resemblyzer()


def require(module: str, **placeholders: Any) -> Any:
  """Imports a module of the extra 'eval'.

  Args:
    module: its name.
    **placeholders: modules that it imports and does without, by name, with
      the attributes that they must have. They stand in during the import if
      the real ones cannot be imported.

  Raises:
    ImportError: saying what to install.
  """
  standing_in = []
  try:
    for name, attributes in placeholders.items():
      if not _can_import(name):
        sys.modules[name] = types.ModuleType(name)
        vars(sys.modules[name]).update(attributes)
        standing_in.append(name)
    return importlib.import_module(module)
  except ImportError as error:
    raise ImportError(
      f"this judge needs the packages of the extra 'eval', and {module} cannot "
      f"be imported ({error}): pip install 'soundstorm-jax[eval]'"
    ) from error
  finally:
    for name in standing_in:
      del sys.modules[name]


def version(package: str) -> str:
  """A package with its version."""
  return f"{package} {importlib.metadata.version(package)}"


def _can_import(name: str) -> bool:
  try:
    importlib.import_module(name)
  except (ImportError, OSError):
    # OSError: its binary was built for another version of its neighbours.
    return False
  return True
