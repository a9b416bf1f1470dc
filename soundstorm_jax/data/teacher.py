"""Another network's features of recordings, for an encoder to learn from.

A folder with ID.npy for every recording, (S, E) float16, `FRAMES_PER_SECOND` of
them a second, and their mean and standard deviation per dimension in
statistics.npz. `soundstorm_jax.teach` writes it.

Free of TensorFlow. Axes: S frames of 20 ms, E dimensions.
"""

import os
import pathlib
from collections.abc import Iterable

import numpy as np
from jaxtyping import Float

FRAMES_PER_SECOND = 50
_STATISTICS = "statistics.npz"


class Teacher:
  """Features, normalised per dimension.

  Attributes:
    width: E.

  Raises:
    ValueError: there is no such folder.
  """

  def __init__(self, folder: str | os.PathLike[str]):
    self._folder = pathlib.Path(folder)
    path = self._folder / _STATISTICS
    if not path.is_file():
      raise ValueError(f"no teacher's features: {path} is missing")
    with np.load(path) as statistics:
      self._mean, self._std = statistics["mean"], statistics["std"]
    self.width = self._mean.size

  def features(
    self, name: str, *, start: int, count: int
  ) -> Float[np.ndarray, "S E"]:
    """Up to `count` frames of a recording from frame `start` on."""
    path = feature_path(self._folder, name)
    stored = np.load(path, mmap_mode="r")
    frames = np.asarray(stored[start : start + count], np.float32)
    return (frames - self._mean) / self._std


def feature_path(folder: str | os.PathLike[str], name: str) -> pathlib.Path:
  """Where the features of a recording are."""
  return pathlib.Path(folder) / f"{name}.npy"


def missing(folder: str | os.PathLike[str], names: Iterable[str]) -> list[str]:
  """Those of the recordings that have no features."""
  return [name for name in names if not feature_path(folder, name).is_file()]


def write_features(
  folder: str | os.PathLike[str], name: str, features: Float[np.ndarray, "S E"]
) -> None:
  """Stores a recording's features; the file appears whole."""
  path = feature_path(folder, name)
  path.parent.mkdir(parents=True, exist_ok=True)
  part = path.with_suffix(".part")
  with part.open("wb") as file:
    np.save(file, features.astype(np.float16))
  os.replace(part, path)


def write_statistics(
  folder: str | os.PathLike[str], names: Iterable[str]
) -> None:
  """Stores mean and standard deviation over recordings' features."""
  count, total, squares = 0, 0.0, 0.0
  for name in names:
    rows = np.load(feature_path(folder, name))
    rows = rows.astype(np.float64)
    count += len(rows)
    total = total + rows.sum(axis=0)
    squares = squares + np.square(rows).sum(axis=0)
  mean = total / count
  std = np.sqrt(np.maximum(squares / count - np.square(mean), 1e-12))
  np.savez(
    pathlib.Path(folder) / _STATISTICS,
    mean=mean.astype(np.float32),
    std=std.astype(np.float32),
  )
