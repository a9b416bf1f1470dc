"""A teacher's features: who is encoded together, and what is kept of whom."""

import numpy as np
import pytest

from soundstorm_jax import teach
from soundstorm_jax.config import DataConfig
from soundstorm_jax.data import teacher, whisper
from soundstorm_jax.data.audio_files import find_audio, read_audio
from soundstorm_jax.data.phone_audio import PhoneAudioSource
from tests.make_audio import write_folder

RATE = 16000


def loudness(audio):
  """A teacher of two dimensions: a frame's mean power, and what comes after."""
  frames = np.pad(audio, (0, -audio.size % 320)).reshape(-1, 320)
  power = np.square(frames).mean(1)
  return np.stack([power, np.append(power[1:], 0)], axis=1)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
  folder = tmp_path_factory.mktemp("teach")
  write_folder(folder / "audio", {"1": [1.4, 0.9], "2": [0.7]})
  files = find_audio(folder / "audio")
  calls = []

  def encode(audio):
    calls.append(audio.size)
    return loudness(audio)

  output = str(folder / "teacher")
  assert teach.teach(files, output, encode=encode) == 3
  # All three fit into one window.
  assert len(calls) == 1
  assert teach.teach(files, output, encode=encode) == 0
  assert len(calls) == 1
  return folder, files


def test_every_recording_gets_its_own_frames(made):
  folder, files = made
  for file in files:
    audio = read_audio(file.path, RATE)
    stored = np.load(teacher.feature_path(folder / "teacher", file.id))
    expected = loudness(audio)
    assert stored.shape == expected.shape
    # What follows a recording in the window is silence, not the next one.
    np.testing.assert_allclose(stored, expected, atol=1e-3)


def test_features_are_normalised_over_all(made):
  folder, files = made
  known = teacher.Teacher(folder / "teacher")
  assert known.width == 2
  rows = np.concatenate(
    [known.features(file.id, start=0, count=1000) for file in files]
  )
  np.testing.assert_allclose(rows.mean(0), 0, atol=1e-3)
  np.testing.assert_allclose(rows.std(0), 1, atol=1e-3)
  part = known.features(files[0].id, start=5, count=3)
  np.testing.assert_array_equal(part, rows[5:8])


def test_batches_have_the_window_of_the_audio(made):
  folder, _ = made
  config = DataConfig(
    path=str(folder / "audio"),
    held_out_speakers=("2",),
    window_seconds=0.8,
    workers=1,
  )
  source = PhoneAudioSource(
    config,
    RATE,
    batch_size=4,
    seed=0,
    phones_file="",
    teacher_folder=str(folder / "teacher"),
  )
  batch = next(source.train_batches())
  assert batch["teacher"].shape == (4, 40, 2)
  with np.load(folder / "teacher" / "statistics.npz") as statistics:
    power = batch["teacher"] * statistics["std"] + statistics["mean"]
  for row in range(4):
    frames = batch["audio"][row].reshape(-1, 320)
    # A window starts anywhere; a frame of the teacher's is 20 ms.
    np.testing.assert_allclose(
      power[row, :35, 0], np.square(frames).mean(1)[:35], atol=0.01
    )


def test_recordings_without_features_are_named(made, tmp_path):
  folder, files = made
  teacher.write_features(tmp_path, files[0].id, np.ones((3, 2)))
  teacher.write_statistics(tmp_path, [files[0].id])
  config = DataConfig(path=str(folder / "audio"), window_seconds=0.8, workers=1)
  with pytest.raises(ValueError, match="no features of 2 recordings"):
    PhoneAudioSource(
      config,
      RATE,
      batch_size=1,
      seed=0,
      phones_file="",
      teacher_folder=str(tmp_path),
    )
  with pytest.raises(ValueError, match=r"statistics\.npz is missing"):
    teacher.Teacher(tmp_path / "none")


def test_join_fills_windows_and_cuts_what_is_too_long():
  lengths = {"a": 12 * RATE + 1, "b": 17 * RATE, "c": RATE, "d": 40 * RATE}
  groups = list(
    teach.join((name, np.ones(size)) for name, size in lengths.items())
  )
  assert [[name for name, _ in group] for group in groups] == [
    ["a", "b"],
    ["c"],
    ["d"],
  ]
  for name, samples in (pair for group in groups for pair in group):
    kept = min(lengths[name], 30 * RATE)
    assert samples.size % 320 == 0
    assert samples[:kept].all()
    assert not samples[kept:].any()
    assert samples.size >= kept + RATE / 2


def test_log_mel_of_a_tone_is_loudest_at_its_channel():
  time = np.arange(RATE) / RATE
  frames = whisper.log_mel(np.sin(2 * np.pi * 1000 * time).astype(np.float32))
  assert frames.shape == (100, 80)
  # 1 kHz is the 15th of 45.2 mels, 80 channels lie between 81 steps.
  assert set(frames[5:-5].argmax(1)) <= {25, 26}
  assert frames.max() - frames.min() <= 2.0 + 1e-6
