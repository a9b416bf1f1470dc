"""Phones as runs in a file, and windows of audio that carry them."""

import numpy as np
import pytest

from soundstorm_jax.config import DataConfig
from soundstorm_jax.data import phones
from soundstorm_jax.data.phone_audio import PhoneAudioSource
from tests import make_audio


def test_what_is_written_is_read(tmp_path):
  numbers = np.array([0, 0, 5, 5, 5, -1, 39, 5], np.int8)
  file = tmp_path / "x" / "phones.csv"
  phones.write_phones(file, [("a-1", numbers), ("b", numbers[:1])])
  assert file.read_text().splitlines()[1] == ("a-1,SIL 2 AW 3 ? 1 ZH 1 AW 1")
  found = phones.read_phones(file)
  assert list(found) == ["a-1", "b"]
  np.testing.assert_array_equal(found["a-1"], numbers)


@pytest.mark.parametrize(
  ("text", "message"),
  [
    (None, "no such file"),
    ("id,text\n", "lacks the columns phones"),
    ("id,phones\na,SIL x\n", "no runs of phones"),
    ("id,phones\na,XX 3\n", "no runs of phones"),
    ("id,phones\na,SIL\n", "no runs of phones"),
  ],
)
def test_refuses_what_are_no_phones(tmp_path, text, message):
  file = tmp_path / "phones.csv"
  if text is not None:
    file.write_text(text)
  with pytest.raises(ValueError, match=message):
    phones.read_phones(file)


@pytest.fixture
def folder(tmp_path):
  return make_audio.write_folder(
    tmp_path / "audio", {"1": [0.35, 2.0], "2": [0.5]}
  )


def source(folder, file):
  return PhoneAudioSource(
    DataConfig(
      path=str(folder), held_out_speakers=("2",), window_seconds=0.4, workers=1
    ),
    16000,
    phones_file=str(file),
    batch_size=2,
    seed=0,
  )


def test_windows_carry_their_phones(tmp_path, folder):
  file = tmp_path / "phones.csv"
  # Every second has phones of its own, so a window's tell where it starts.
  long = np.arange(200) % 40
  phones.write_phones(file, [("1-1-0001", long)])
  seen = set()
  batches = source(folder, file).train_batches()
  for _ in range(5):
    batch = next(batches)
    assert batch["audio"].shape == (2, 6400)
    assert batch["phones"].shape == (2, 40)
    for length, numbers in zip(batch["length"], batch["phones"], strict=True):
      if length < 6400:  # The short one, of which nothing is known.
        assert length == 5600
        assert (numbers == phones.UNKNOWN).all()
      else:
        np.testing.assert_array_equal(
          numbers, (numbers[0] + np.arange(40)) % 40
        )
      seen.add(int(length))
  assert seen == {5600, 6400}
  held_out = next(source(folder, file).eval_batches())
  assert held_out["length"].tolist() == [6400, 6400]


def test_labels_may_end_before_or_after_the_audio(tmp_path, folder):
  file = tmp_path / "phones.csv"
  for count in (30, 36):
    phones.write_phones(file, [("1-1-0000", np.full(count, 7))])
    rows = next(source(folder, file).train_batches())
    short = rows["phones"][rows["length"] == 5600]
    assert (short[:, :30] == 7).all()
    assert (short[:, 35:] == phones.UNKNOWN).all()


def test_a_file_of_other_recordings_is_refused(tmp_path, folder):
  file = tmp_path / "phones.csv"
  phones.write_phones(file, [("9-9-9999", np.full(3, 7))])
  with pytest.raises(ValueError, match="has no recording of"):
    source(folder, file)
