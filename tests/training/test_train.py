"""The training program: order, resume, skipping, retention."""

import jax
import numpy as np
import pytest

from soundstorm_jax import train as train_lib
from soundstorm_jax.config import TrainConfig, from_mapping
from soundstorm_jax.training import checkpoint
from tests.training import toy


def run(workdir, *, bad_steps=(), kill_at=None, **values):
  config = toy.config(**values)
  source = toy.ToySource(bad_steps=bad_steps, kill_at=kill_at)
  result = train_lib.train(
    config, workdir, task=toy.ToyTask(config), source=source
  )
  return result, source


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
  workdir = tmp_path_factory.mktemp("whole")
  return run(workdir), workdir


def saved_steps(workdir):
  return sorted(int(p.name) for p in (workdir / "checkpoints").iterdir())


def test_learns_and_reports(whole):
  (result, source), _ = whole
  assert result.step == 6
  # Batch 6 is never asked for: the loop ends before it.
  assert source.served == [0, 1, 2, 3, 4, 5]
  assert result.metrics["loss"] > 0
  assert result.metrics["skipped"] == 0
  assert {"grad_norm", "update_norm", "param_norm"} <= set(result.metrics)
  assert np.isfinite(result.eval_metrics["loss"])


# 4 is where a checkpoint is due anyway; at 3 only the signal makes one.
@pytest.mark.parametrize("stop_after", [3, 4])
def test_resume_equals_uninterrupted(whole, tmp_path, stop_after):
  first, before = run(tmp_path, kill_at=stop_after - 1)
  assert first.step == stop_after
  second, after = run(tmp_path)
  assert second.step == 6
  assert before.served + after.served == [0, 1, 2, 3, 4, 5]
  (result, _), workdir = whole
  assert second.eval_metrics == result.eval_metrics
  ours = checkpoint.restore_for_inference(tmp_path)
  theirs = checkpoint.restore_for_inference(workdir)
  assert ours.step == theirs.step == 6
  assert toy.fingerprint(ours.state) == toy.fingerprint(theirs.state)


def test_finished_run_does_nothing_more(whole):
  _, workdir = whole
  again, source = run(workdir)
  assert again.step == 6
  assert source.served == []


def test_keeps_only_the_newest_checkpoints(tmp_path):
  run(tmp_path, save_every=1, keep_checkpoints=2)
  assert saved_steps(tmp_path) == [5, 6]


def test_another_config_is_refused(whole):
  _, workdir = whole
  with pytest.raises(ValueError, match="seed=0"):
    run(workdir, seed=1)


def test_another_learning_rate_is_not(whole, tmp_path):
  run(tmp_path, steps=2)
  result, _ = run(tmp_path, steps=3, optimizer={"lr": 0.01})
  assert result.step == 3


def test_nonfinite_step_is_skipped_and_counted(tmp_path):
  result, _ = run(tmp_path, bad_steps=(3,), log_every=6)
  assert result.step == 6
  assert result.metrics["skipped"] == 1
  state = checkpoint.restore_for_inference(tmp_path, step=6).state
  assert all(np.isfinite(x).all() for x in jax.tree.leaves(state))


def test_nonfinite_step_leaves_the_state(tmp_path):
  run(tmp_path, bad_steps=(1,), steps=2, save_every=1)
  before = checkpoint.restore_for_inference(tmp_path, step=1)
  after = checkpoint.restore_for_inference(tmp_path, step=2)
  assert toy.fingerprint(before.state["params"]) == toy.fingerprint(
    after.state["params"]
  )
  assert (before.state["step"], after.state["step"]) == (1, 2)


def test_stops_after_too_many_nonfinite_steps(tmp_path):
  with pytest.raises(FloatingPointError, match="2 steps in a row"):
    run(tmp_path, bad_steps=(2, 3, 4), max_skipped_in_a_row=2)


def test_single_bad_steps_do_not_stop(tmp_path):
  result, _ = run(tmp_path, bad_steps=(1, 3), max_skipped_in_a_row=2)
  assert result.step == 6


def test_accumulation_equals_one_large_batch(whole, tmp_path):
  optimizer = {"lr": 0.05, "warmup_steps": 2, "accumulate": 4}
  result, _ = run(tmp_path, optimizer=optimizer)
  (expected, _), workdir = whole
  np.testing.assert_allclose(
    result.eval_metrics["loss"], expected.eval_metrics["loss"], rtol=1e-5
  )
  one = checkpoint.restore_for_inference(workdir).state["params"]
  parts = checkpoint.restore_for_inference(tmp_path).state["params"]
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), one, parts
  )


def test_batch_that_the_mesh_cannot_cut(tmp_path):
  config = toy.config(
    batch_size=8, optimizer={"accumulate": 8}, mesh={"data": 7}
  )
  with pytest.raises(ValueError, match="does not fill 1 devices"):
    train_lib.train(config, tmp_path)


def test_unknown_config_key():
  with pytest.raises(ValueError, match=r"OptimizerConfig has no field lrr"):
    from_mapping(TrainConfig, {"optimizer": {"lrr": 1.0}})
  with pytest.raises(ValueError, match="SoundStormConfig has no field code"):
    train_lib.read_config(
      {"task": "soundstorm", "system": {"model": {"code": 3}}}
    )
