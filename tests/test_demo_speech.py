"""The speech that the demo ships: complete, uniform and small."""

import csv
import pathlib

import pytest
import soundfile

_FOLDER = (
  pathlib.Path(__file__).parents[1] / "soundstorm_jax" / "demo" / "speech"
)


@pytest.fixture(scope="module")
def rows():
  with open(_FOLDER / "manifest.csv", encoding="utf-8", newline="") as file:
    return list(csv.DictReader(file))


def test_manifest_and_files_agree(rows):
  files = {p.relative_to(_FOLDER).as_posix() for p in _FOLDER.rglob("*.ogg")}
  assert {row["path"] for row in rows} == files
  assert len(files) == 32
  assert len({row["text"] for row in rows}) == 32
  for row in rows:
    assert row["path"].startswith(f"{row['speaker']}/{row['speaker']}_")


def test_eight_speakers_half_women_half_british(rows):
  speakers = {row["speaker"] for row in rows}
  assert len(speakers) == 8
  assert sum(name[1] == "f" for name in speakers) == 4
  assert sum(name[0] == "b" for name in speakers) == 4


def test_recordings_are_16_khz_mono_of_5_to_9_seconds(rows):
  for row in rows:
    info = soundfile.info(str(_FOLDER / row["path"]))
    assert (info.samplerate, info.channels) == (16000, 1), row["path"]
    assert 5 <= info.duration <= 9, row["path"]


def test_speech_takes_at_most_3_megabytes():
  assert sum(p.stat().st_size for p in _FOLDER.rglob("*.ogg")) <= 3e6
