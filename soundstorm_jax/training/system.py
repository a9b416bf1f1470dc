"""What the programs must know of a system to train it and to ship it.

`train.SYSTEMS` has one of these for each; nothing else in the programs differs
from system to system.
"""

import pathlib
from collections.abc import Callable
from typing import Any, NamedTuple

from soundstorm_jax.config import TrainConfig
from soundstorm_jax.training.feed import OnDevice, Source
from soundstorm_jax.training.task import State, Task


class Share(NamedTuple):
  """Which rows of the global batch a host reads.

  Attributes:
    batch_size: of the global batch.
    process_index: of this host.
    process_count: how many hosts there are.
  """

  batch_size: int
  process_index: int
  process_count: int


class Weights(NamedTuple):
  """What a file of weights is to hold.

  Attributes:
    kind: of model.
    model: its config.
    params: arrays.
  """

  kind: str
  model: Any
  params: Any


class System(NamedTuple):
  """One that is trained step by step.

  Attributes:
    settings: the dataclass of `TrainConfig.system`.
    make_task: of a run.
    make_source: this host's share of a run's data; raises ValueError if they do
      not fit the model. TensorFlow is imported for batches of the host alone.
    weights: of a run's state, as nested dicts, the averaged parameters.
  """

  settings: type
  make_task: Callable[[TrainConfig], Task]
  make_source: Callable[[TrainConfig, Share], Source | OnDevice]
  weights: Callable[[TrainConfig, State], Weights]


class Fitted(NamedTuple):
  """One that is fitted in one go.

  Attributes:
    settings: the dataclass of `TrainConfig.system`.
    fit: reads the data of a run and writes weights to its folder.
  """

  settings: type
  fit: Callable[[TrainConfig, pathlib.Path], Any]
