"""The compiled sampler with a small network."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from soundstorm_jax.layers.config import ConformerConfig
from soundstorm_jax.soundstorm.config import SamplerConfig, SoundStormConfig
from soundstorm_jax.soundstorm.decode import decode
from soundstorm_jax.soundstorm.network import SoundStorm
from soundstorm_jax.soundstorm.sampler import make_sampler

B, T, Q, V = 4, 20, 3, 32
MODEL = SoundStormConfig(
  levels=Q,
  codes=V,
  semantic_vocab=8,
  conformer=ConformerConfig(dim=32, layers=2, heads=2, ff_dim=64),
)
ITERATIONS = (6, 2, 1)
LENGTH = jnp.asarray([20, 13, 7, 20])
PROMPT_LENGTH = jnp.asarray([5, 0, 7, 0])


@pytest.fixture(scope="module")
def params():
  network = SoundStorm(MODEL)
  tokens = jnp.zeros((1, T, Q), jnp.int32)
  init = jax.jit(
    lambda key: network.init(key, tokens, tokens[..., 0], None, level=0)
  )
  variables = init(jax.random.key(0))
  # Sharper predictions than at the start, so that logits matter beside noise.
  params = nn.unbox(variables)
  params["params"]["head_kernel"] *= 20
  return params


@pytest.fixture(scope="module")
def requests():
  keys = jax.random.split(jax.random.key(1), 2)
  return dict(
    semantic=jax.random.randint(keys[0], (B, T), 0, 8),
    prompt=jax.random.randint(keys[1], (B, T, Q), 0, V),
    prompt_length=PROMPT_LENGTH,
    length=LENGTH,
    keys=jax.vmap(jax.random.key)(jnp.arange(B)),
  )


def test_tokens_are_bit_identical_whatever_the_batch_mates(params, requests):
  sample = make_sampler(MODEL, SamplerConfig(iterations=ITERATIONS))
  tokens = np.asarray(sample(params, **requests))
  assert tokens.max() < V
  assert tokens[0, 5:].std() > 0
  assert (tokens[1, 13:] == 0).all()
  np.testing.assert_array_equal(tokens[2, :7], requests["prompt"][2, :7])
  order = jnp.asarray([2, 3, 1, 0])
  shuffled = sample(params, **{k: v[order] for k, v in requests.items()})
  np.testing.assert_array_equal(shuffled, tokens[order])
  # Batch-mates replaced by dummy rows of length 0, which is how a batch shape
  # is filled up.
  alone = dict(requests)
  for name in ("length", "prompt_length"):
    alone[name] = requests[name].at[1:].set(0)
  alone["prompt"] = requests["prompt"].at[1:].set(0)
  alone["semantic"] = requests["semantic"].at[1:].set(0)
  np.testing.assert_array_equal(sample(params, **alone)[0], tokens[0])


def test_guidance_drops_conditioning_and_prompt(params, requests):
  """Against a decode of the guided logits written out."""
  scale = 1.5
  sample = make_sampler(
    MODEL, SamplerConfig(iterations=ITERATIONS, guidance_scale=scale)
  )
  tokens = sample(params, **requests)
  network = SoundStorm(MODEL)
  valid = jnp.arange(T) < LENGTH[:, None]

  prompted = jnp.arange(T) < requests["prompt_length"][:, None]
  assert prompted.any()

  def logits_fn(tokens, level):
    given, dropped = (
      jax.nn.log_softmax(
        network.apply(params, known, semantic, valid, level=level)
      )
      for known, semantic in (
        (tokens, requests["semantic"]),
        (
          jnp.where(prompted[..., None], MODEL.mask_id, tokens),
          jnp.full((B, T), MODEL.null_semantic_id),
        ),
      )
    )
    return (1 + scale) * given - scale * dropped

  expected = jax.jit(
    lambda: decode(
      logits_fn,
      codes=V,
      config=SamplerConfig(iterations=ITERATIONS),
      **{k: v for k, v in requests.items() if k != "semantic"},
    )
  )()
  # The sums round differently, which may tip a near tie.
  assert (np.asarray(tokens) == np.asarray(expected)).mean() > 0.97


def test_refuses_another_number_of_levels():
  with pytest.raises(ValueError, match="each of the 3 levels"):
    make_sampler(MODEL, SamplerConfig())


def test_heads_are_looped_over_on_cpu_alone(params, requests):
  """Where it is compiled for decides, not where that is done."""
  trace = make_sampler(MODEL, SamplerConfig(iterations=ITERATIONS)).trace(
    params, **requests
  )
  heads = MODEL.conformer.heads
  one, all_at_once = (
    f"tensor<{shape}x{T}x{T}xf32>" for shape in (B, f"{B}x{heads}")
  )
  for platform, present, absent in (
    ("cpu", one, all_at_once),
    ("tpu", all_at_once, one),
  ):
    text = trace.lower(lowering_platforms=(platform,)).as_text()
    assert present in text, platform
    assert absent not in text, platform
