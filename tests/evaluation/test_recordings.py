"""Which recordings are judged."""

import pytest

from soundstorm_jax.evaluation.recordings import choose_audio
from tests.make_audio import write_folder


def test_chooses_recordings_evenly(tmp_path):
  lengths = {"10": [0.3] * 7, "20": [0.3] * 2, "30": [0.3]}
  audio = write_folder(tmp_path, lengths)
  chosen = choose_audio(audio, speakers=["20", "10"], per_speaker=3)
  assert [file.id for file in chosen] == [
    "20-1-0000",
    "20-1-0001",
    "10-1-0000",
    "10-1-0002",
    "10-1-0004",
  ]
  assert len(choose_audio(audio)) == 10
  with pytest.raises(ValueError, match=r"speakers not in .*: 40"):
    choose_audio(audio, speakers=["40", "10"])
  with pytest.raises(ValueError, match="must be at least 1, got 0"):
    choose_audio(audio, per_speaker=0)
