"""What is written is what TensorBoard reads."""

import io

import numpy as np
import pytest
import soundfile
from tensorboard.backend.event_processing import event_accumulator
from tensorboard.util.tensor_util import make_ndarray

from soundstorm_jax.training.writer import (
  MetricWriter,
  SilentWriter,
  TensorBoardWriter,
)


@pytest.fixture
def reread(tmp_path):
  def read(name):
    kept = {event_accumulator.TENSORS: 0}
    events = event_accumulator.EventAccumulator(str(tmp_path), kept).Reload()
    plugin = events.SummaryMetadata(name).plugin_data.plugin_name
    found = [
      (e.step, make_ndarray(e.tensor_proto)) for e in events.Tensors(name)
    ]
    return plugin, found

  return read


def test_scalars(tmp_path, reread):
  writer = TensorBoardWriter(tmp_path)
  for step, loss in ((10, 3.0), (20, 2.5)):
    writer.write_scalars(step, {"train/loss": loss, "train/top1": 0.5})
  writer.close()
  plugin, found = reread("train/loss")
  assert plugin == "scalars"
  assert found == [(10, 3.0), (20, 2.5)]
  assert reread("train/top1")[1] == [(10, 0.5), (20, 0.5)]


def test_audio(tmp_path, reread):
  clips = np.random.default_rng(0).uniform(-1, 1, (2, 800, 1))
  writer = TensorBoardWriter(tmp_path)
  writer.write_audios(3, {"made": clips.astype(np.float32)}, sample_rate=16000)
  writer.close()
  plugin, [(step, pairs)] = reread("made")
  assert (plugin, step, pairs.shape) == ("audio", 3, (2, 2))
  for (sound, label), clip in zip(pairs, clips, strict=True):
    audio, rate = soundfile.read(io.BytesIO(sound), always_2d=True)
    assert (rate, label) == (16000, b"")
    np.testing.assert_allclose(audio, clip, atol=2 / 32768)


def test_flushed_is_on_disk_and_a_later_run_has_its_own_file(tmp_path, reread):
  first = TensorBoardWriter(tmp_path)
  first.write_scalars(1, {"x": 1.0})
  first.flush()
  assert reread("x")[1] == [(1, 1.0)]
  second = TensorBoardWriter(tmp_path)
  first.close()
  second.close()
  assert len(list(tmp_path.iterdir())) == 2


def test_all_writers_are_writers(tmp_path):
  writer = TensorBoardWriter(tmp_path)
  assert isinstance(writer, MetricWriter)
  assert isinstance(SilentWriter(), MetricWriter)
  SilentWriter().write_scalars(1, {"x": 1.0})
  writer.close()
