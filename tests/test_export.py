"""From a run's checkpoint to a file of weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from soundstorm_jax import export, weights
from soundstorm_jax.config import TrainConfig, from_mapping, to_mapping
from soundstorm_jax.soundstorm.config import SoundStormConfig
from soundstorm_jax.soundstream.config import SoundStreamConfig
from soundstorm_jax.train import read_config
from soundstorm_jax.training.checkpoint import Checkpoints


def write_run(workdir, config, state):
  checkpoints = Checkpoints(workdir, config=config)
  for step in (1, 2):
    scaled = jax.tree.map(lambda x, step=step: jnp.asarray(x) * step, state)
    checkpoints.save(step, scaled, force=True)
  checkpoints.close()


def test_soundstorm(tmp_path):
  config = read_config(
    {"task": "soundstorm", "system": {"model": {"levels": 5}}}
  )
  state = {
    "params": {"kernel": np.zeros((2, 3), np.float32)},
    "ema_params": {"block": {"kernel": np.full((2, 3), 0.5, np.float32)}},
  }
  write_run(tmp_path, config, state)
  path = tmp_path / "soundstorm.safetensors"
  assert export.export(tmp_path, path) == 2
  loaded = weights.load_weights(path)
  assert loaded.kind == "soundstorm"
  assert loaded.metadata == {"step": "2"}
  assert from_mapping(SoundStormConfig, loaded.config) == config.system.model
  np.testing.assert_array_equal(loaded.params["block"]["kernel"], 1.0)
  assert export.export(tmp_path, path, step=1) == 1
  loaded = weights.load_weights(path)
  np.testing.assert_array_equal(loaded.params["block"]["kernel"], 0.5)


def test_soundstream(tmp_path):
  config = read_config({"task": "soundstream"})
  state = {
    "params": {"kernel": np.zeros((2,), np.float32)},
    "ema_params": {"kernel": np.ones((2,), np.float32)},
    "codebooks": {"vectors": np.full((2, 3, 4), 0.25, np.float32)},
  }
  write_run(tmp_path, config, state)
  path = tmp_path / "codec.safetensors"
  export.export(tmp_path, path, dtype="float32")
  loaded = weights.load_weights(path)
  assert loaded.kind == "soundstream"
  # JSON turns the strides into a list; the config turns them back.
  assert from_mapping(SoundStreamConfig, loaded.config) == SoundStreamConfig()
  assert to_mapping(SoundStreamConfig())["strides"] == (2, 4, 5, 8)
  np.testing.assert_array_equal(loaded.params["params"]["kernel"], 2.0)
  np.testing.assert_array_equal(loaded.params["codebooks"], 0.5)


def test_no_checkpoint(tmp_path):
  with pytest.raises(FileNotFoundError, match="no checkpoints in"):
    export.export(tmp_path, tmp_path / "x")
  write_run(tmp_path, TrainConfig(), {"ema_params": np.zeros(1)})
  with pytest.raises(FileNotFoundError, match="no checkpoint 7 in"):
    export.export(tmp_path, tmp_path / "x", step=7)
