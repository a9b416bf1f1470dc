"""Audio windows cut on the device."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from soundstorm_jax.config import DataConfig
from soundstorm_jax.data import audio_files, audio_strip
from soundstorm_jax.data.audio import AudioSource
from tests import make_audio
from tests.data.test_positions import shuffled

RATE = 16000


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
  """LibriSpeech's layout, in two formats, and files side by side."""
  folder = tmp_path_factory.mktemp("audio")
  make_audio.write_folder(folder / "a", {"10": [0.05, 0.31], "30": [0.2]})
  make_audio.write_folder(folder / "b", {"20": [0.7]}, suffix=".ogg")
  make_audio.write(folder / "c" / "anna" / "hello_1.wav", 0.25, seed=9)
  make_audio.write(folder / "c" / "anna" / "hello_2.wav", 0.1, seed=10)
  return ",".join(str(folder / name) for name in "abc")


def source(folders, kind=audio_strip.AudioStrip, **fields):
  settings = {"held_out_speakers": ("30",), "window_seconds": 0.1, **fields}
  return kind(DataConfig(path=folders, **settings), RATE, batch_size=4, seed=3)


def drawn(source, where, *, seed=0):
  key = jax.random.key(seed)
  arrays = jax.tree.map(jnp.asarray, source.arrays())
  draw = jax.jit(jax.vmap(lambda k: source.draw(arrays, k, key=key)))
  return np.asarray(draw(jnp.asarray(where, jnp.uint32))["audio"])


def test_draws_what_loops_draw(folders):
  ours = source(folders)
  # By segment: its recording, and the places where its window may start.
  segments = []
  for file in ours.train_files:
    audio = audio_files.to_int16(audio_files.read_audio(file.path, RATE))
    count = max(1, -(-audio.size // 1600))
    places = max(0, audio.size - 1600) + 1
    for s in range(count):
      first, after = s * places // count, (s + 1) * places // count
      segments.append((audio, list(range(first, after))))
  # 0.05, 0.31, 0.7, 0.25 and 0.1 s.
  assert len(segments) == ours.examples_per_epoch == 1 + 4 + 7 + 3 + 1
  order_key, place_key = jax.random.split(jax.random.key(5))
  where = [*range(32), 777]
  numbers = shuffled(where, len(segments), key=order_key)
  rows = drawn(ours, where, seed=5)
  for position, number, row in zip(where, numbers, rows, strict=True):
    audio, places = segments[number]
    key = jax.random.fold_in(place_key, position)
    start = places[int(jax.random.randint(key, (), 0, len(places)))]
    expected = np.zeros(1600, np.float32)
    part = audio[start : start + 1600]
    expected[: part.size] = part.astype(np.float32) / 32767
    np.testing.assert_allclose(row, expected, rtol=1e-6)


def test_all_places_of_a_recording_come_up(folders):
  arrays = source(folders).arrays()
  lengths = source(folders)._lengths
  # The segments' places lie side by side and cover each recording.
  covered = [
    np.arange(first, first + places)
    for first, places in zip(arrays["first"], arrays["places"], strict=True)
  ]
  begins = np.cumsum(lengths) - lengths
  expected = [
    np.arange(begin, begin + max(0, length - 1600) + 1)
    for begin, length in zip(begins, lengths, strict=True)
  ]
  np.testing.assert_array_equal(
    np.concatenate(covered), np.concatenate(expected)
  )


def test_a_row_does_not_depend_on_the_others(folders):
  eight = drawn(source(folders), np.arange(8))
  np.testing.assert_array_equal(drawn(source(folders), [6]), eight[6:7])


def test_evaluates_the_same_rows(folders):
  (ours,) = source(folders).eval_batches()
  (theirs,) = source(folders, AudioSource).eval_batches()
  np.testing.assert_array_equal(ours["audio"], theirs["audio"])


def test_speakers_of_all_folders_are_held_out(folders):
  ours = source(folders, held_out_speakers=("10", "anna"))
  assert {f.speaker for f in ours.train_files} == {"20", "30"}
  assert [f.speaker for f in ours.eval_files] == ["10", "anna", "10", "anna"]
  with pytest.raises(ValueError, match=r": nobody$"):
    source(folders, held_out_speakers=("20", "nobody"))
  with pytest.raises(ValueError, match="no folder of audio is named"):
    source("")


def test_more_than_places_can_number_is_refused(folders, monkeypatch):
  monkeypatch.setattr(audio_strip, "_MOST_SAMPLES", 20_000)
  with pytest.raises(ValueError, match="at most 18400 samples, got 22560"):
    source(folders).arrays()


def test_a_failing_file_raises_its_own_error(tmp_path):
  make_audio.write_folder(tmp_path, {"10": [0.3]})
  ours = source(str(tmp_path), held_out_speakers=())
  (file,) = ours.train_files
  file.path.write_bytes(b"gone")
  with pytest.raises(ValueError, match=r"cannot read .*10-1-0000\.wav"):
    ours.arrays()
