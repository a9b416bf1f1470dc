"""AudioLM's stages: what each slot sees, step by step and all at once."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from soundstorm_jax.audiolm.conditioning import conditioning, slot_positions
from soundstorm_jax.audiolm.config import AudioLMConfig, AudioLMStages
from soundstorm_jax.audiolm.network import (
  AudioLM,
  decoding_config,
  decoding_params,
  parameter_count,
)
from soundstorm_jax.audiolm.sampler import grow, prefill, step_fn
from tests.audiolm import tiny_audiolm
from tests.audiolm.tiny_audiolm import Q, V, make_params, stage, whole_pass

B, T = 3, 9
LENGTH = np.array([9, 6, 3])


def make_inputs(model):
  return tiny_audiolm.make_inputs(model, LENGTH, frames=T)


EACH = [
  (name, positions)
  for name in ("coarse", "fine")
  for positions in ("sequence", "time")
]


@pytest.mark.parametrize(("name", "positions"), EACH)
def test_cached_steps_equal_the_whole_pass(name, positions):
  model = stage(name, positions=positions)
  params = make_params(model)
  tokens, prefix = make_inputs(model)
  whole = whole_pass(model, params, tokens, prefix)
  whole = whole.reshape(B, -1, V)
  assert whole.std() > 0.3
  params = decoding_params(model, params)
  codes = tokens.reshape(B, -1)
  # Rows know 0, 1 and 3 frames when the loop begins.
  known = model.target_levels * jnp.asarray([0, 1, 3])
  fill = jax.jit(
    lambda: prefill(model, params, prefix=prefix, tokens=tokens[:, :3])
  )
  caches = grow(fill(), prefix.ids.shape[1] + codes.shape[1])
  step = jax.jit(step_fn(model, params, prefix_valid=prefix.valid))
  for index in range(codes.shape[1]):
    logits, caches = step(
      caches,
      previous=codes[:, max(index - 1, 0)],
      index=jnp.asarray(index),
      write=index > known,
    )
    np.testing.assert_allclose(logits, whole[:, index], atol=1e-5)


@pytest.mark.parametrize("name", ["coarse", "fine"])
def test_only_codes_of_the_level_are_allowed(name):
  """As a softmax over all levels' ids, all but the level's own left out."""
  model = stage(name)
  params = make_params(model)
  tokens, prefix = make_inputs(model)
  logits = whole_pass(model, params, tokens, prefix)
  levels = model.target_levels

  @jax.jit
  def stream():
    _, state = AudioLM(model).apply(
      {"params": params},
      tokens,
      prefix,
      capture_intermediates=lambda module, _: module.name == "transformer",
    )
    return state["intermediates"]["transformer"]["__call__"][0][0]

  hidden = np.asarray(stream())[:, prefix.ids.shape[1] :]
  kernel = np.asarray(params["head_kernel"]).reshape(levels * V, -1)
  for place in range(T * levels):
    scores = hidden[:, place] @ kernel.T + np.ravel(params["head_bias"])
    allowed = np.arange(levels * V) // V == place % levels
    scores = np.where(allowed, scores, -np.inf)
    expected = np.exp(scores - scores.max(-1, keepdims=True))
    expected = (expected / expected.sum(-1, keepdims=True))[:, allowed]
    found = jax.nn.softmax(logits[:, place // levels, place % levels])
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize(("name", "positions"), EACH)
def test_sees_what_is_before_and_all_of_the_prefix(name, positions):
  model = stage(name, positions=positions)
  params = make_params(model)
  tokens, prefix = make_inputs(model)

  def run(tokens, ids):
    logits = whole_pass(model, params, tokens, prefix._replace(ids=ids))
    return np.asarray(logits).reshape(B, -1, V)

  before = run(tokens, prefix.ids)
  # Another code at frame 2, level 1.
  place = 2 * model.target_levels + 1
  after = run(tokens.at[:, 2, 1].set((tokens[:, 2, 1] + 1) % V), prefix.ids)
  differs = (np.abs(after - before) > 1e-6).any((0, 2))
  assert differs.tolist() == [i > place for i in range(len(differs))]
  # The last valid token of a row's prefix matters from the first token on; one
  # that is not valid does not.
  counts = np.asarray(prefix.valid).sum(1)
  for column, matters in ((counts - 1, True), (counts, False)):
    ids = np.array(prefix.ids)
    for row in range(B):
      if column[row] < ids.shape[1]:
        ids[row, column[row]] = (ids[row, column[row]] + 1) % 8
    after = run(tokens, jnp.asarray(ids))
    rows = slice(None) if matters else slice(1, None)
    differs = np.abs(after - before)[rows] > 1e-6
    assert differs.any(-1)[:, 0].all() == matters
    if not matters:
      assert not differs.any()


@pytest.mark.parametrize(("name", "positions"), EACH)
def test_padding_changes_nothing(name, positions):
  """A short row alone in a short batch, and beside long ones."""
  model = stage(name, positions=positions)
  params = make_params(model)
  tokens, prefix = make_inputs(model)
  padded = whole_pass(model, params, tokens, prefix)
  frames = int(LENGTH[1])
  count = model.prefix_length(frames)
  alone = whole_pass(
    model,
    params,
    tokens[1:2, :frames],
    jax.tree.map(lambda x: x[1:2, :count], prefix),
  )
  np.testing.assert_allclose(alone[0], padded[1, :frames], atol=1e-5)
  garbage = tokens.at[1, frames:].set(V - 1)
  other = whole_pass(model, params, garbage, prefix)
  np.testing.assert_array_equal(other[1, :frames], padded[1, :frames])


def test_an_empty_row_is_finite():
  model = stage()
  tokens, prefix = make_inputs(model)
  prefix = prefix._replace(valid=jnp.zeros_like(prefix.valid))
  logits = whole_pass(model, make_params(model), tokens, prefix)
  assert np.isfinite(logits).all()


def test_conditioning_is_each_semantic_token_once_or_the_coarse_levels():
  semantic = jnp.asarray([[4, 4, 4, 4, 7, 7, 1]])
  acoustic = jnp.arange(7 * Q).reshape(1, 7, Q) % V
  valid = jnp.arange(7)[None] < 5
  given = {"semantic": semantic, "acoustic": acoustic, "valid": valid}
  prefix = conditioning(stage(), **given)
  # Repeated neighbours stay.
  assert prefix.ids.tolist() == [[4, 4, 7, 1]]
  assert prefix.valid.tolist() == [[True, True, True, False]]
  prefix = conditioning(stage("fine"), **given)
  expected = [
    [
      level * V + int(acoustic[0, t, level])
      for t in range(7)
      for level in (0, 1)
    ]
  ]
  assert prefix.ids.tolist() == expected
  assert prefix.valid.tolist() == [[True] * 10 + [False] * 4]


def test_positions():
  # A prefix of 12 frames would end at 6, wherever this one does.
  found = slot_positions(stage(), prefix=3, targets=4)
  assert found.tolist() == [0, 1, 2, 6, 7, 8, 9]
  # Two levels a frame: a semantic token covers two frames.
  found = slot_positions(stage(positions="time"), prefix=3, targets=4)
  assert found.tolist() == [0, 4, 8, -1, 0, 1, 2]
  # Three levels a frame, of which two are in the prefix.
  found = slot_positions(stage("fine", positions="time"), prefix=4, targets=4)
  assert found.tolist() == [0, 1, 3, 4, -1, 0, 1, 2]


def test_scanned_parameters_are_taken_apart():
  model = stage(scan_layers=True)
  params = make_params(model)
  assert "layers" in params["transformer"]
  apart = decoding_params(model, params)
  assert set(apart["transformer"]) == {"layer_0", "layer_1", "norm"}
  inputs = make_inputs(model)
  np.testing.assert_allclose(
    whole_pass(model, params, *inputs),
    whole_pass(decoding_config(model), apart, *inputs),
    atol=1e-5,
  )
  bfloat16 = dataclasses.replace(
    model, transformer=dataclasses.replace(model.transformer, dtype="bfloat16")
  )
  halved = decoding_params(bfloat16, params)
  assert halved["head_kernel"].dtype == jnp.bfloat16
  assert halved["transformer"]["norm"]["scale"].dtype == jnp.float32


def test_parameters_of_the_paper():
  dim, block = 1024, 4 * 1024**2 + 2 * 1024 * 4096 + 2 * 1024
  for name, levels, read in (("coarse", 4, 1024), ("fine", 8, 4096)):
    tables = (read + 1 + levels * 1024) * dim
    heads = levels * 1024 * (dim + 1)
    expected = 12 * block + dim + tables + heads + 32 * 16
    assert parameter_count(AudioLMConfig(stage=name)) == expected


def test_what_does_not_fit_is_refused():
  model = stage()
  tokens, prefix = make_inputs(model)
  init = AudioLM(model).init
  with pytest.raises(ValueError, match="must have 2 levels, got 1"):
    init(jax.random.key(0), tokens[..., :1], prefix)
  with pytest.raises(ValueError, match="5 frames must have 3 tokens, got 5"):
    init(jax.random.key(0), tokens[:, :5], prefix)
  long = jnp.zeros((1, 13, 2), jnp.int32)
  with pytest.raises(ValueError, match="at most 12 frames, got 13"):
    init(jax.random.key(0), long, prefix)
  with pytest.raises(ValueError, match="at most 12 frames, got 13"):
    init(jax.random.key(0), prefix, long, method="prefill")


@pytest.mark.parametrize(
  ("values", "message"),
  [
    ({"stage": "middle"}, "coarse or fine, got 'middle'"),
    ({"positions": "place"}, "sequence or time, got 'place'"),
    ({"coarse_levels": 12}, "more than coarse_levels, 12, got 12"),
    ({"semantic_stride": 0}, "semantic_stride must be at least 1, got 0"),
  ],
)
def test_bad_settings_are_refused(values, message):
  with pytest.raises(ValueError, match=message):
    AudioLMConfig(**values)


def test_stages_that_do_not_fit_are_refused():
  coarse, fine = AudioLMConfig(), AudioLMConfig(stage="fine")
  stages = AudioLMStages(coarse, fine)
  assert (stages.levels, stages.codes, stages.semantic_vocab) == (
    12,
    1024,
    1024,
  )
  with pytest.raises(ValueError, match="must be coarse and fine, got"):
    AudioLMStages(fine, coarse)
  with pytest.raises(ValueError, match="the same codes, got 1024 and 64"):
    AudioLMStages(coarse, dataclasses.replace(fine, codes=64))
