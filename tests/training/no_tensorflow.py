"""Run by test_no_tensorflow.py: training where TensorFlow is not installed.

python tests/training/no_tensorflow.py soundstorm FOLDER
"""

import pathlib
import signal
import sys


class _Blind:
  """A finder of modules that does not see TensorFlow."""

  def __init__(self, finder):
    self._finder = finder

  def __getattr__(self, name):
    return getattr(self._finder, name)

  def find_spec(self, name, *args):
    if name.split(".")[0] in ("tensorflow", "tensorflow_datasets"):
      return None
    return self._finder.find_spec(name, *args)


sys.meta_path[:] = map(_Blind, sys.meta_path)

from soundstorm_jax import train as train_lib  # noqa: E402
from soundstorm_jax.demo.training import read_losses  # noqa: E402
from soundstorm_jax.training import checkpoint  # noqa: E402
from tests import make_audio  # noqa: E402
from tests.tasks_shared import write_codec  # noqa: E402
from tests.tiny_packed import SIZES, write_tokens  # noqa: E402

RUN = {
  "steps": 4,
  "batch_size": 2,
  "log_every": 2,
  "eval_every": 2,
  "save_every": 2,
}


def soundstorm_config(folder):
  path = folder / "tokens.safetensors"
  write_tokens(path)
  codec = write_codec(folder, levels=2, codes=16)
  return RUN | {
    "task": "soundstorm",
    "sample_every": 4,
    "data": {"path": str(path), "window_seconds": 0.4},
    "system": {
      "model": SIZES
      | {"conformer": {"dim": 8, "layers": 1, "heads": 2, "ff_dim": 16}},
      "sampler": {"iterations": (2, 1)},
      "codec_weights": codec,
      "codebook_start_batches": 2,
    },
  }


def audiolm_config(folder):
  path = folder / "tokens.safetensors"
  write_tokens(path)
  return RUN | {
    "task": "audiolm",
    "data": {"path": str(path), "window_seconds": 0.2},
    "system": {
      "model": SIZES
      | {
        "coarse_levels": 1,
        "window_frames": 10,
        "transformer": {"dim": 8, "layers": 1, "heads": 2, "ff_dim": 16},
      },
    },
  }


def soundstream_config(folder):
  make_audio.write_folder(folder / "audio", {"a": [0.3, 0.2], "b": [0.3]})
  return RUN | {
    "task": "soundstream",
    "data": {
      "path": str(folder / "audio"),
      "held_out_speakers": ("b",),
      "window_seconds": 0.16,
      "on_device": True,
    },
    "system": {
      "model": {
        "encoder_channels": 2,
        "decoder_channels": 2,
        "dim": 4,
        "levels": 2,
        "codes": 4,
      },
      "adversarial_start": 100,
    },
  }


CONFIGS = {
  "soundstorm": soundstorm_config,
  "audiolm": audiolm_config,
  "soundstream": soundstream_config,
}


def main(name, folder):
  folder = pathlib.Path(folder)
  config = train_lib.read_config(CONFIGS[name](folder))
  # Told to stop before it begins, a run ends after its first call's steps.
  received = checkpoint.StopSignal.received
  checkpoint.StopSignal.received = lambda self, step: step >= 2
  assert train_lib.train(config, folder / "run").step == 2
  checkpoint.StopSignal.received = received
  result = train_lib.train(config, folder / "run")
  assert result.step == 4
  assert result.eval_metrics["loss"] > 0
  assert checkpoint.restore_for_inference(folder / "run").step == 4
  train, held_out = read_losses(folder / "run")
  assert [point.step for point in train] == [2, 4]
  assert [point.step for point in held_out] == [4]
  assert not {"tensorflow", "tensorflow_datasets"} & set(sys.modules)
  print("trained")


if __name__ == "__main__":
  signal.alarm(3000)
  main(*sys.argv[1:])
