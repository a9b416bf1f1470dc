"""Going on from weights: the same model, and a clear refusal of another."""

import jax
import numpy as np
import pytest

from soundstorm_jax.audiolm.task import AudioLMTask
from soundstorm_jax.config import TrainConfig, to_mapping
from soundstorm_jax.parallel import rules
from soundstorm_jax.soundstorm.task import SoundStormTask
from soundstorm_jax.train import SYSTEMS, read_config
from soundstorm_jax.weights import save_weights

CONFORMER = {"dim": 8, "layers": 1, "heads": 2, "ff_dim": 8}
SIZES = {"levels": 2, "codes": 4, "semantic_vocab": 3}
TASKS = {
  "soundstorm": (SoundStormTask, SIZES | {"conformer": CONFORMER}),
  "audiolm": (
    AudioLMTask,
    SIZES
    | {
      "stage": "coarse",
      "coarse_levels": 1,
      "window_frames": 10,
      "transformer": CONFORMER,
    },
  ),
}


def config(name, *, start="", **changes) -> TrainConfig:
  system = {"model": TASKS[name][1] | changes, "start": start}
  if name == "soundstorm":
    system["sampler"] = {"iterations": (1, 1)}
  return read_config({"task": name, "system": system})


def started(config):
  task = TASKS[config.task][0](config)
  state = rules.unbox(task.init_state(jax.random.key(1)))
  return task.start_from_data(state, iter(()), jax.random.key(0))


@pytest.fixture(params=TASKS)
def weights(request, tmp_path):
  """Random weights of another seed, as `export` writes them."""
  settings = config(request.param)
  state = TASKS[request.param][0](settings).init_state(jax.random.key(7))
  params = jax.device_get(rules.unbox(state.params))
  path = tmp_path / "weights.safetensors"
  save_weights(
    path,
    params,
    config=to_mapping(settings.system.model),
    kind=request.param,
    dtype="float32",
  )
  return request.param, str(path), params


def test_training_starts_with_the_weights(weights):
  name, path, params = weights
  state = started(config(name, start=path))
  assert int(state.step) == 0
  for found in (state.params, state.ema_params):
    jax.tree.map(np.testing.assert_array_equal, found, params)
  # Without a start, with random ones.
  leaves = jax.tree.leaves(started(config(name)).params)
  assert any(
    np.any(np.asarray(leaf) != other)
    for leaf, other in zip(leaves, jax.tree.leaves(params), strict=True)
  )


def test_refuses_weights_of_another_size_or_kind(weights):
  name, path, _ = weights
  with pytest.raises(ValueError, match=r"start: .* of shape"):
    started(config(name, start=path, semantic_vocab=5))
  other = next(kind for kind in TASKS if kind != name)
  with pytest.raises(ValueError, match=f"must hold {other}, got {name!r}"):
    started(config(other, start=path))


def test_only_some_tasks_take_a_start():
  start = {"start": "x.safetensors"}
  with pytest.raises(ValueError, match="KMeansConfig has no field start"):
    read_config({"task": "kmeans", "system": start})
  encoder = read_config({"task": "semantic_encoder", "system": start})
  with pytest.raises(ValueError, match="'semantic_encoder' takes no start"):
    SYSTEMS["semantic_encoder"].make_task(encoder)
