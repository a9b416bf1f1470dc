"""SoundStorm's network: size, heads, embeddings, padding."""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from soundstorm_jax.layers.config import ConformerConfig
from soundstorm_jax.soundstorm.config import SoundStormConfig
from soundstorm_jax.soundstorm.network import SoundStorm, parameter_count

B, T = 2, 9
CONFIG = SoundStormConfig(
  levels=3,
  codes=16,
  semantic_vocab=8,
  conformer=ConformerConfig(dim=32, layers=1, heads=2, ff_dim=48),
)
MODEL = SoundStorm(CONFIG)
TOKENS = jax.random.randint(jax.random.key(0), (B, T, 3), 0, 17)
SEMANTIC = jax.random.randint(jax.random.key(1), (B, T), 0, 9)
VALID = jnp.arange(T) < jnp.asarray([T, 6])[:, None]


@pytest.fixture(scope="module")
def params():
  init = jax.jit(lambda key: MODEL.init(key, TOKENS, SEMANTIC, VALID, level=0))
  return nn.unbox(init(jax.random.key(2)))


@jax.jit
def logits_at(params, tokens, semantic, valid, level):
  return MODEL.apply(params, tokens, semantic, valid, level=level)


@pytest.fixture(scope="module")
def all_logits(params):
  return jax.jit(
    lambda params: MODEL.apply(
      params, TOKENS, SEMANTIC, VALID, method="all_logits"
    )
  )(params)


def test_paper_configuration_has_350_million_parameters():
  assert abs(parameter_count(SoundStormConfig()) - 350e6) < 0.02 * 350e6


def test_initial_predictions_are_nearly_uniform(all_logits):
  assert all_logits.shape == (B, T, 3, 16)
  loss = -jax.nn.log_softmax(all_logits).mean()
  assert abs(loss - math.log(16)) < 0.02
  assert all_logits.std() > 0.01


def test_one_level_equals_its_slice_of_all(params, all_logits):
  for level in range(3):
    logits = logits_at(params, TOKENS, SEMANTIC, VALID, jnp.asarray(level))
    assert logits.dtype == jnp.float32
    np.testing.assert_allclose(logits, all_logits[:, :, level], atol=1e-5)


def test_each_row_can_have_its_own_level(params, all_logits):
  logits = logits_at(params, TOKENS, SEMANTIC, VALID, jnp.asarray([2, 0]))
  np.testing.assert_allclose(logits[0], all_logits[0, :, 2], atol=1e-5)
  np.testing.assert_allclose(logits[1], all_logits[1, :, 0], atol=1e-5)


def test_only_the_asked_head_is_computed():
  """The compiled work grows by one head, not by Q."""

  def flops(levels):
    config = SoundStormConfig(
      levels=levels, codes=512, semantic_vocab=8, conformer=CONFIG.conformer
    )
    model = SoundStorm(config)
    tokens = jnp.zeros((1, 64, levels), jnp.int32)
    variables = jax.eval_shape(
      lambda: nn.unbox(
        model.init(jax.random.key(0), tokens, tokens[..., 0], None, level=0)
      )
    )
    compiled = (
      jax.jit(
        lambda v, level: model.apply(
          v, tokens, tokens[..., 0], None, level=level
        )
      )
      .lower(variables, jnp.asarray(0))
      .compile()
    )
    return compiled.cost_analysis()["flops"]

  one_head = 2 * 64 * 32 * 512
  assert flops(8) - flops(1) < one_head


def test_every_input_matters_at_every_level(params):
  """A change of any level's token or of the semantic token moves the logits."""
  level = jnp.asarray(1)
  before = logits_at(params, TOKENS, SEMANTIC, VALID, level)
  for q in range(3):
    tokens = TOKENS.at[0, 4, q].set((TOKENS[0, 4, q] + 1) % 17)
    after = logits_at(params, tokens, SEMANTIC, VALID, level)
    assert (np.abs(after - before)[0].max(-1) > 1e-6).all()
  semantic = SEMANTIC.at[0, 4].set((SEMANTIC[0, 4] + 1) % 9)
  after = logits_at(params, TOKENS, semantic, VALID, level)
  assert (np.abs(after - before)[0].max(-1) > 1e-6).all()


def test_embeddings_are_summed_by_level(params):
  """What the Conformer is given, written out."""
  p = params["params"]
  given = {}

  def spy(next_fun, args, kwargs, context):
    if type(context.module).__name__ == "Conformer":
      given["x"] = args[0]
    return next_fun(*args, **kwargs)

  with nn.intercept_methods(spy):
    MODEL.apply(params, TOKENS, SEMANTIC, VALID, level=0)
  for row in range(B):
    for t in range(T):
      expected = p["semantic_embedding"][SEMANTIC[row, t]]
      for q in range(3):
        expected = expected + p["token_embedding"][q, TOKENS[row, t, q]]
      np.testing.assert_allclose(given["x"][row, t], expected, atol=1e-5)
  # Unit variance, from Q + 1 tables.
  assert 0.7 < float(given["x"].std()) < 1.3


def test_padding_changes_nothing(params):
  level = jnp.asarray([0, 2])
  before = logits_at(params, TOKENS, SEMANTIC, VALID, level)
  tokens = jnp.where(VALID[:, :, None], TOKENS, 3)
  semantic = jnp.where(VALID, SEMANTIC, 5)
  after = logits_at(params, tokens, semantic, VALID, level)
  np.testing.assert_allclose(after[VALID], before[VALID], atol=1e-6)


def test_all_gradients_are_finite_and_reach_the_asked_heads(params):
  def loss(params):
    logits = MODEL.apply(
      params, TOKENS, SEMANTIC, VALID, level=jnp.asarray([0, 2])
    )
    return -jnp.where(VALID, jax.nn.log_softmax(logits)[:, :, 0], 0).sum()

  gradient = jax.jit(jax.grad(loss))(params)["params"]
  assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))
  by_level = np.abs(gradient["head_kernel"]).max((1, 2)) > 0
  assert by_level.tolist() == [True, False, True]


def test_refuses_another_number_of_levels(params):
  with pytest.raises(ValueError, match="must have 3 levels, got 2"):
    MODEL.apply(params, TOKENS[:, :, :2], SEMANTIC, VALID, level=0)
