"""Small recordings for tests: coloured noise, no two alike."""

import pathlib

import numpy as np
import soundfile


def write(
  path: pathlib.Path, seconds: float, *, rate: int = 16000, seed: int = 0
) -> np.ndarray:
  """Writes mono noise, in the format that the suffix names."""
  noise = np.random.default_rng(seed).normal(size=round(seconds * rate))
  audio = 0.2 * np.convolve(noise, [0.5, 0.3, 0.2], mode="same")
  path.parent.mkdir(parents=True, exist_ok=True)
  soundfile.write(path, audio, rate)
  return audio.astype(np.float32)


def write_folder(
  folder: pathlib.Path,
  seconds: dict[str, list[float]],
  *,
  suffix: str = ".wav",
) -> pathlib.Path:
  """LibriSpeech layout: `seconds` of each utterance by speaker."""
  seed = 0
  for speaker, lengths in seconds.items():
    for index, length in enumerate(lengths):
      seed += 1
      name = f"{speaker}-1-{index:04}{suffix}"
      write(folder / speaker / "1" / name, length, seed=seed)
  return folder
