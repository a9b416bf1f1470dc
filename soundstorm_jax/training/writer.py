"""TensorBoard files, by TensorBoard's own writer.

It needs no TensorFlow, which machines that train on a GPU often lack; with one
installed it also writes to buckets.

Axes: B clips, N samples, C channels.
"""

import io
import os
import time
from collections.abc import Mapping
from typing import Protocol, runtime_checkable

import jax
import numpy as np
import soundfile
from jaxtyping import Array, Float
from tensorboard.compat.proto import event_pb2, summary_pb2
from tensorboard.plugins.audio import metadata as audio_metadata
from tensorboard.plugins.scalar.summary_v2 import scalar_pb
from tensorboard.summary.writer.event_file_writer import EventFileWriter
from tensorboard.util.tensor_util import make_tensor_proto

Clips = Float[np.ndarray, "B N C"] | Float[Array, "B N C"]


@runtime_checkable
class MetricWriter(Protocol):
  """Where a run writes what it finds."""

  def write_scalars(self, step: int, scalars: Mapping[str, float]) -> None:
    """Writes figures, by name."""

  def write_audios(
    self, step: int, audios: Mapping[str, Clips], *, sample_rate: int
  ) -> None:
    """Writes clips to listen to, by name."""

  def flush(self) -> None:
    """Returns once all is on disk."""

  def close(self) -> None:
    """Likewise; nothing may be written afterwards."""


class SilentWriter:
  """Writes nothing: for all hosts but the first."""

  def write_scalars(self, step: int, scalars: Mapping[str, float]) -> None:
    """Does nothing."""

  def write_audios(
    self, step: int, audios: Mapping[str, Clips], *, sample_rate: int
  ) -> None:
    """Does nothing."""

  def flush(self) -> None:
    """Does nothing."""

  def close(self) -> None:
    """Does nothing."""


class TensorBoardWriter:
  """Writes a new event file in a folder, from a thread of its own.

  Args:
    folder: where to; made if it is not there.
  """

  def __init__(self, folder: str | os.PathLike[str]):
    self._writer = EventFileWriter(os.fspath(folder))

  def write_scalars(self, step: int, scalars: Mapping[str, float]) -> None:
    """See `MetricWriter`."""
    for name, value in scalars.items():
      self._write(step, scalar_pb(name, value))

  def write_audios(
    self, step: int, audios: Mapping[str, Clips], *, sample_rate: int
  ) -> None:
    """See `MetricWriter`; clips are kept as WAV of 16 bits."""
    metadata = audio_metadata.create_summary_metadata(
      display_name=None,
      description=None,
      encoding=audio_metadata.Encoding.Value("WAV"),
    )
    for name, clips in audios.items():
      # TensorBoard wants pairs: a sound, and words about it.
      pairs = [[_wav(clip, sample_rate), b""] for clip in np.asarray(clips)]
      summary = summary_pb2.Summary()
      summary.value.add(
        tag=name,
        metadata=metadata,
        tensor=make_tensor_proto(np.array(pairs, object)),
      )
      self._write(step, summary)

  def flush(self) -> None:
    """See `MetricWriter`."""
    self._writer.flush()

  def close(self) -> None:
    """See `MetricWriter`."""
    self._writer.close()

  def _write(self, step: int, summary: summary_pb2.Summary) -> None:
    self._writer.add_event(
      event_pb2.Event(wall_time=time.time(), step=step, summary=summary)
    )


def make_writer(workdir: str | os.PathLike[str]) -> MetricWriter:
  """TensorBoard files, written by the first host alone."""
  if jax.process_index() > 0:
    return SilentWriter()
  return TensorBoardWriter(workdir)


def _wav(clip: Float[np.ndarray, "N C"], sample_rate: int) -> bytes:
  file = io.BytesIO()
  soundfile.write(file, clip, sample_rate, format="WAV", subtype="PCM_16")
  return file.getvalue()
