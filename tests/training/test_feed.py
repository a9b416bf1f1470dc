"""Steps on data that lies on the device: several in one call."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from soundstorm_jax import train as train_lib
from soundstorm_jax.parallel.mesh import make_mesh
from soundstorm_jax.training import checkpoint, feed, keys
from soundstorm_jax.training.state import abstract_state
from tests.training import toy

# Nothing is due before the end.
NEVER = {"log_every": 6, "eval_every": 6, "save_every": 6}


def run(workdir, *, bad_steps=(), **values):
  config = toy.config(**values)
  return train_lib.train(
    config,
    workdir,
    task=toy.ToyTask(config),
    source=toy.ToyStrip(bad_steps=bad_steps),
  )


def saved(workdir):
  return toy.fingerprint(checkpoint.restore_for_inference(workdir).state)


@pytest.fixture(scope="module")
def single(tmp_path_factory):
  workdir = tmp_path_factory.mktemp("single")
  return run(workdir, steps_per_call=1), workdir


# 20 are cut at every log line, evaluation and checkpoint; 4 only by the end.
@pytest.mark.parametrize(("steps_per_call", "every"), [(20, {}), (4, NEVER)])
def test_many_steps_equal_single_ones(single, tmp_path, steps_per_call, every):
  result = run(tmp_path, steps_per_call=steps_per_call, **every)
  expected, workdir = single
  assert result.step == expected.step == 6
  assert result.eval_metrics == expected.eval_metrics
  assert saved(tmp_path) == saved(workdir)
  if not every:
    # Means of the last two steps, not of speed.
    for name in ("loss", "grad_norm", "param_norm", "skipped"):
      assert result.metrics[name] == expected.metrics[name]


def test_resume_equals_uninterrupted(single, tmp_path, monkeypatch):
  with monkeypatch.context() as patched:
    patched.setattr(
      checkpoint.StopSignal, "received", lambda self, step: step >= 3
    )
    assert run(tmp_path).step == 3
  result = run(tmp_path)
  expected, workdir = single
  assert result.step == 6
  assert result.eval_metrics == expected.eval_metrics
  assert saved(tmp_path) == saved(workdir)


def test_calls_end_where_something_is_due():
  config = toy.config(
    steps=100, log_every=50, eval_every=30, save_every=90, sample_every=0
  )
  step, ends = 0, []
  while step < config.steps:
    step += min(config.steps_per_call, train_lib._until_due(step, config))
    ends.append(step)
  assert ends == [20, 30, 50, 60, 80, 90, 100]


def test_skipped_steps_are_named_one_by_one(tmp_path, capsys):
  result = run(tmp_path, bad_steps=(1, 4), **NEVER)
  assert result.metrics["skipped"] == 2
  assert np.isfinite(result.metrics["loss"])
  told = capsys.readouterr().err
  assert "step 2 skipped" in told
  assert "step 5 skipped" in told
  assert told.count("skipped:") == 2
  state = checkpoint.restore_for_inference(tmp_path).state
  assert all(np.isfinite(x).all() for x in jax.tree.leaves(state))


# Within a call, and over two.
@pytest.mark.parametrize("steps_per_call", [6, 3])
def test_stops_after_too_many_nonfinite_steps(tmp_path, steps_per_call):
  with pytest.raises(FloatingPointError, match=r"in a row, up to step 4"):
    run(
      tmp_path,
      bad_steps=(0, 2, 3),
      max_skipped_in_a_row=2,
      steps_per_call=steps_per_call,
      **NEVER,
    )


def test_rows_go_by_their_position():
  strip = toy.ToyStrip()
  arrays = jax.tree.map(jnp.asarray, strip.arrays())
  key = keys.stream(0, name="data")

  def batch(size, step):
    draw = feed.batch_drawer(strip.draw, batch_size=size, key=key)
    return jax.device_get(jax.jit(draw)(arrays, step))

  eight = batch(8, 1)
  halves = [batch(4, step) for step in (2, 3)]
  for name, rows in eight.items():
    parts = np.concatenate([half[name] for half in halves])
    np.testing.assert_array_equal(parts, rows)
    # Position 13 alone.
    np.testing.assert_array_equal(batch(1, 13)[name][0], rows[5])


def test_positions_have_an_end():
  config = toy.config(steps=2**30, batch_size=8)
  task = toy.ToyTask(config)
  mesh = make_mesh(config.mesh)
  target = abstract_state(task.init_state, mesh)
  with pytest.raises(ValueError, match="at most 4294967296 for data"):
    feed.make_feed(toy.ToyStrip(), task, target, config=config, mesh=mesh)


def test_frames_are_counted_by_mask_or_length():
  tokens = {"valid": np.array([[True, True, False], [True, False, False]])}
  assert feed.valid_frames(tokens, window=3) == 3
  audio = {"audio": np.zeros((2, 1000))}
  assert feed.valid_frames(audio, window=3) == 6


def test_all_hosts_are_asked_about_every_step(monkeypatch):
  asked = []

  def reached(step):
    asked.append(step)
    return step == 25

  monkeypatch.setattr(jax, "process_count", lambda: 2)
  monkeypatch.setattr(
    checkpoint.multihost_utils, "reached_preemption_sync_point", reached
  )
  stop = checkpoint.StopSignal()
  assert [stop.received(step) for step in (10, 20, 40)] == [False, False, True]
  assert asked == [10, *range(11, 26)]
