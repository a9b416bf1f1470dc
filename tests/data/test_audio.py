"""Reading audio, and windows of it by integer position."""

import itertools

import numpy as np
import pytest
import soundfile

from soundstorm_jax.config import DataConfig
from soundstorm_jax.data import audio_files
from soundstorm_jax.data.audio import AudioSource
from tests import make_audio

RATE = 16000


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  return make_audio.write_folder(
    tmp_path_factory.mktemp("audio"),
    {"10": [0.05, 0.31], "20": [0.7], "30": [0.12, 0.2, 0.26]},
  )


def source(folder, *, batch_size=4, index=0, count=1, **fields):
  settings = {"held_out_speakers": ("30",), "window_seconds": 0.1, **fields}
  return AudioSource(
    DataConfig(path=str(folder), **settings),
    RATE,
    batch_size=batch_size,
    seed=3,
    process_index=index,
    process_count=count,
  )


def take(batches, count):
  rows = [b["audio"] for b in itertools.islice(batches, count)]
  return np.stack(rows)


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".ogg", ".mp3"])
def test_reads_every_format(tmp_path, suffix):
  path = tmp_path / f"a{suffix}"
  truth = make_audio.write(path, 1.0)
  audio = audio_files.read_audio(path, RATE)
  assert audio.dtype == np.float32
  assert audio.shape == (audio_files.audio_length(path, RATE),)
  assert abs(audio.size - truth.size) < 0.1 * RATE
  # Lossy formats lose some of the noise, but not its loudness.
  assert audio.std() == pytest.approx(truth.std(), rel=0.3)


def test_mixes_channels_down(tmp_path):
  left, right = np.full(800, 0.5), np.full(800, -0.25)
  path = tmp_path / "a.wav"
  soundfile.write(path, np.stack([left, right], 1), RATE, subtype="FLOAT")
  np.testing.assert_allclose(audio_files.read_audio(path, RATE), 0.125)


def test_resamples_a_tone(tmp_path):
  path = tmp_path / "a.wav"
  tone = np.sin(2 * np.pi * 440 * np.arange(44100) / 44100)
  soundfile.write(path, tone, 44100, subtype="FLOAT")
  audio = audio_files.read_audio(path, RATE)
  assert audio.size == RATE
  expected = np.sin(2 * np.pi * 440 * np.arange(RATE) / RATE)
  np.testing.assert_allclose(audio[400:-400], expected[400:-400], atol=1e-3)


@pytest.mark.parametrize("suffix", [".wav", ".mp3"])
@pytest.mark.parametrize("rate", [16000, 22050, 8000])
def test_an_excerpt_is_the_part_of_the_whole(tmp_path, rate, suffix):
  path = tmp_path / f"a{suffix}"
  make_audio.write(path, 1.0)
  whole = audio_files.read_audio(path, rate)
  for start, length in [(0, 50), (1234, 3000), (whole.size - 20, 400)]:
    part = audio_files.read_audio(path, rate, start=start, length=length)
    np.testing.assert_allclose(part, whole[start : start + length], atol=1e-5)


def test_unreadable_files_are_named(tmp_path):
  bad, empty = tmp_path / "bad.wav", tmp_path / "empty.wav"
  bad.write_bytes(b"not audio")
  soundfile.write(empty, np.zeros(0), RATE)
  for path in (bad, empty):
    with pytest.raises(ValueError, match=str(path)):
      audio_files.read_audio(path, RATE)
  with pytest.raises(ValueError, match="no such folder"):
    audio_files.find_audio(tmp_path / "missing")


def test_speakers_by_layout(tmp_path):
  make_audio.write(tmp_path / "84" / "12" / "84-12-0003.wav", 0.01)
  make_audio.write(tmp_path / "anna" / "x" / "hello.wav", 0.01)
  found = audio_files.find_audio(tmp_path)
  assert [(f.id, f.speaker) for f in found] == [
    ("84-12-0003", "84"),
    ("anna/x/hello", "x"),
  ]


def test_an_epoch_has_every_segment_once(folder):
  train = source(folder)
  # 0.05 s is 1 window of 0.1 s, 0.31 s is 4, 0.7 s is 7.
  assert train.examples_per_epoch == 12
  epochs = take(train.train_batches(), 6).reshape(2, 12, -1)
  short = [np.count_nonzero(np.all(e[:, 800:] == 0, axis=1)) for e in epochs]
  assert short == [1, 1]
  whole = {
    name: audio_files.read_audio(path, RATE)
    for name, path in [(f.id, f.path) for f in train.train_files]
  }
  for epoch in epochs:
    counts = dict.fromkeys(whole, 0)
    for row in epoch:
      # Windows are told apart by their loudest samples.
      probe = row[:100]
      for name, audio in whole.items():
        windows = np.lib.stride_tricks.sliding_window_view(audio, 100)
        counts[name] += bool(np.any(np.all(windows == probe, axis=1)))
    assert counts == {"10-1-0000": 1, "10-1-0001": 4, "20-1-0000": 7}
  assert not np.array_equal(epochs[0], epochs[1])


def test_resume_is_starting_later(folder):
  whole = take(source(folder).train_batches(), 5)
  np.testing.assert_array_equal(
    take(source(folder).train_batches(3), 2), whole[3:]
  )


def test_hosts_share_the_global_batch(folder):
  whole = take(source(folder).train_batches(1), 3)
  parts = [
    take(source(folder, index=i, count=2).train_batches(1), 3) for i in (0, 1)
  ]
  np.testing.assert_array_equal(np.concatenate(parts, axis=1), whole)


def test_cached_audio_is_the_same(folder):
  plain = take(source(folder).train_batches(), 3)
  cached = take(source(folder, cache=True).train_batches(), 3)
  np.testing.assert_allclose(cached, plain, atol=1 / 32767)


def test_evaluation_takes_held_out_speakers_only(folder):
  held_out = source(folder, batch_size=2, eval_batches=5)
  batches = list(held_out.eval_batches())
  assert len(batches) == 1
  first, second = (
    audio_files.read_audio(f.path, RATE)[:1600] for f in held_out.eval_files[:2]
  )
  np.testing.assert_array_equal(batches[0]["audio"], np.stack([first, second]))
  assert not list(source(folder, held_out_speakers=()).eval_batches())
  assert {f.speaker for f in held_out.train_files} == {"10", "20"}


def test_too_few_held_out_utterances_are_repeated(folder):
  (batch,) = source(folder, batch_size=4).eval_batches()
  np.testing.assert_array_equal(batch["audio"][3], batch["audio"][0])


def test_crops_have_no_padding(folder):
  sizes = sorted(c.size for c in source(folder).crops())
  assert sizes == [800] + 11 * [1600]
  assert [c.size for c in source(folder).held_out_crops()] == [1600] * 3


@pytest.mark.parametrize(
  ("fields", "message"),
  [
    ({"held_out_speakers": ("99",)}, "99"),
    ({"held_out_speakers": ("10", "20", "30")}, "leave no audio"),
    ({"batch_size": 3, "count": 2}, "got 3"),
    ({"window_seconds": 1e-6}, "one sample"),
  ],
)
def test_refuses(folder, fields, message):
  with pytest.raises(ValueError, match=message):
    source(folder, **fields)


def test_a_failing_file_raises_its_own_error(tmp_path):
  make_audio.write_folder(tmp_path, {"10": [0.3]})
  train = source(tmp_path, held_out_speakers=())
  (file,) = train.train_files
  file.path.write_bytes(b"gone")
  with pytest.raises(ValueError, match=r"cannot read .*10-1-0000\.wav"):
    next(train.train_batches())
