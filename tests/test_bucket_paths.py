"""Paths of buckets stay what they are, instead of becoming local folders."""

import pathlib

import pytest

from soundstorm_jax.data import token_dataset
from soundstorm_jax.training import checkpoint


def test_checkpoints_of_a_bucket_stay_there():
  folder = checkpoint.checkpoint_folder("gs://bucket/runs/one")
  assert str(folder) == "gs://bucket/runs/one/checkpoints"


def test_checkpoints_of_a_local_run_have_an_absolute_path():
  folder = checkpoint.checkpoint_folder("runs/one")
  assert str(folder) == str(pathlib.Path.cwd() / "runs/one/checkpoints")


def test_datasets_are_looked_for_in_the_bucket(monkeypatch):
  asked = []

  def exists(path):
    asked.append(str(path))
    return False

  monkeypatch.setattr(
    token_dataset.epath.Path("gs://b").__class__, "exists", exists
  )
  with pytest.raises(
    ValueError, match="no token dataset in gs://bucket/tokens"
  ):
    token_dataset.dataset_folder("gs://bucket/tokens")
  assert asked[0] == "gs://bucket/tokens/dataset_info.json"
  assert all(path.startswith("gs://bucket/tokens/") for path in asked)
