"""SoundStorm's running start against plain sums, and what it is for."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from soundstorm_jax.config import TrainConfig
from soundstorm_jax.layers.config import ConformerConfig
from soundstorm_jax.soundstorm import codebook_start
from soundstorm_jax.soundstorm.config import (
  SoundStormConfig,
  SoundStormTrainingConfig,
)
from soundstorm_jax.soundstorm.network import SoundStorm
from soundstorm_jax.soundstorm.task import SoundStormTask

MODEL = SoundStormConfig(
  levels=2,
  codes=8,
  semantic_vocab=6,
  conformer=ConformerConfig(
    dim=16, layers=2, heads=2, ff_dim=16, scan_layers=False
  ),
)


@pytest.fixture(scope="module")
def codebooks():
  return jax.random.normal(jax.random.key(3), (2, 8, 5)) * jnp.array(
    [[[3.0]], [[1.0]]]
  )


@pytest.fixture(scope="module")
def batch():
  """Each semantic token has one code of level 1; level 2 is chance."""
  random = np.random.default_rng(0)
  semantic = random.integers(6, size=(4, 50))
  first = (semantic + 1) % 8
  second = random.integers(8, size=(4, 50))
  valid = np.arange(50) < np.array([[50], [40], [30], [50]])
  return {
    "semantic": jnp.asarray(semantic, jnp.int32),
    "acoustic": jnp.asarray(np.stack([first, second], -1), jnp.int32),
    "valid": jnp.asarray(valid),
  }


def _params():
  frame = jnp.zeros((1, 1), jnp.int32)
  tokens = jnp.zeros((1, 1, 2), jnp.int32)
  model = SoundStorm(MODEL)
  variables = model.init(jax.random.key(0), tokens, frame, None, level=0)
  return nn.unbox(variables["params"])


def test_counts_are_plain_sums(batch, codebooks):
  found = codebook_start.count_codes(batch, codebooks, semantic_vocab=6)
  codes = np.zeros((2, 8))
  semantic = np.zeros(7)
  latents = np.zeros((7, 5))
  for row in range(4):
    for t in range(50):
      if not batch["valid"][row, t]:
        continue
      token = int(batch["semantic"][row, t])
      semantic[token] += 1
      for level in range(2):
        code = int(batch["acoustic"][row, t, level])
        codes[level, code] += 1
        latents[token] += np.asarray(codebooks[level, code])
  np.testing.assert_array_equal(found.codes, codes)
  np.testing.assert_array_equal(found.semantic, semantic)
  np.testing.assert_allclose(found.latents, latents, atol=1e-3)


def test_it_knows_the_codes_of_semantic_tokens_at_once(batch, codebooks):
  counts = codebook_start.count_codes(batch, codebooks, semantic_vocab=6)
  random = _params()
  started = codebook_start.start_from_codebooks(
    random, codebooks, counts, key=jax.random.key(1)
  )
  assert jax.tree.map(jnp.shape, started) == jax.tree.map(jnp.shape, random)

  def right(params):
    masked = jnp.full_like(batch["acoustic"], MODEL.mask_id)
    logits = SoundStorm(MODEL).apply(
      {"params": params}, masked, batch["semantic"], batch["valid"], level=0
    )
    hit = logits.argmax(-1) == batch["acoustic"][..., 0]
    return float(hit[batch["valid"]].mean())

  assert right(started) > 0.8
  assert right(random) < 0.5


def test_latents_wider_than_the_model_are_refused(batch):
  books = jnp.ones((2, 8, 17))
  counts = codebook_start.count_codes(batch, books, semantic_vocab=6)
  with pytest.raises(ValueError, match="width 17, more than the model's 16"):
    codebook_start.start_from_codebooks(
      _params(), books, counts, key=jax.random.key(1)
    )


def test_it_needs_the_codec():
  config = TrainConfig(
    system=SoundStormTrainingConfig(model=MODEL, codebook_start_batches=3)
  )
  with pytest.raises(ValueError, match="=3 needs the codec of the tokens"):
    SoundStormTask(config)
