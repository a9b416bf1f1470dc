"""Likeness to the prompt: against plain NumPy, and what it leaves alone."""

import jax.numpy as jnp
import numpy as np
import pytest

from soundstorm_jax.config import SamplerConfig
from soundstorm_jax.sampling.likeness import match_prompt
from tests.sampling.reference import nearest_code

B, T, Q, V, C = 4, 40, 8, 32, 3
LENGTH = np.array([40, 33, 40, 0])
PROMPT_LENGTH = np.array([15, 12, 0, 0])

_rng = np.random.default_rng(2)
# Each level narrower than the last, so that any vector nearby is met closely.
CODEBOOKS = np.stack(
  [3.0 * 0.6**level * _rng.normal(size=(V, C)) for level in range(Q)]
).astype(np.float32)


def encode(latents):
  codes = []
  for codebook in CODEBOOKS:
    codes.append(nearest_code(latents, codebook))
    latents = latents - codebook[codes[-1]]
  return codes


def decoded(tokens):
  return sum(CODEBOOKS[q][tokens[..., q]] for q in range(Q))


def speech():
  """Prompts of another mean than what follows, and twice as varied."""
  latents = _rng.normal(size=(B, T, C)) * 0.7
  tokens = np.zeros((B, T, Q), np.int32)
  for row in range(B):
    n = PROMPT_LENGTH[row]
    latents[row, :n] = 2 * latents[row, :n] + [1.0, -1.0, 0.5]
    for t in range(LENGTH[row]):
      tokens[row, t] = encode(latents[row, t])
  return tokens


TOKENS = speech()


def run(strength, tokens=TOKENS, length=LENGTH, prompt_length=PROMPT_LENGTH):
  made = match_prompt(
    jnp.asarray(tokens),
    prompt_length=jnp.asarray(prompt_length),
    length=jnp.asarray(length),
    codebooks=jnp.asarray(CODEBOOKS),
    strength=strength,
  )
  return np.asarray(made)


def reference_row(tokens, prompt_length, length, strength):
  tokens = tokens.copy()
  prompt = decoded(tokens[:prompt_length]).astype(np.float64)
  made = decoded(tokens[prompt_length:length]).astype(np.float64)
  way = strength
  for part in (prompt, made):
    way *= len(part) / (len(part) + 10)
  for t in range(prompt_length, length):
    vector = np.zeros(C)
    for c in range(C):
      mean, wanted = made[:, c].mean(), prompt[:, c].mean()
      factor = prompt[:, c].std() / made[:, c].std()
      factor = min(max(factor, 1.0), 2.0) ** way
      centre = mean + way * (wanted - mean)
      vector[c] = centre + (made[t - prompt_length, c] - mean) * factor
    tokens[t] = encode(vector)
  return tokens


@pytest.mark.parametrize("strength", [0.5, 1.0])
def test_equals_plain_numpy(strength):
  made = run(strength)
  for row in (0, 1):
    expected = reference_row(
      TOKENS[row], PROMPT_LENGTH[row], LENGTH[row], strength
    )
    np.testing.assert_array_equal(made[row], expected)
  assert (made[:2] != TOKENS[:2]).any()


def test_moves_mean_and_deviation_to_the_prompts():
  before, after = decoded(TOKENS[0]), decoded(run(1.0)[0])
  n = PROMPT_LENGTH[0]
  for measure in (np.mean, np.std):
    wanted = measure(before[:n], axis=0)
    was = np.abs(measure(before[n:], axis=0) - wanted)
    now = np.abs(measure(after[n:], axis=0) - wanted)
    # Fifteen frames are believed to 60 percent, twenty-five to 71.
    assert (now < 0.75 * was + 0.05).all()


def test_speech_of_more_variance_than_the_prompt_keeps_it():
  swapped = np.concatenate([TOKENS[:1, 15:], TOKENS[:1, :15]], axis=1)
  n = np.array([25])
  after = decoded(run(1.0, swapped, np.array([40]), n)[0, 25:])
  before = decoded(swapped[0, 25:])
  np.testing.assert_allclose(after.std(0), before.std(0), rtol=0.1)


def test_leaves_prompts_padding_and_rows_without_a_prompt_alone():
  made = run(1.0)
  np.testing.assert_array_equal(made[2:], TOKENS[2:])
  for row in (0, 1):
    prompt, end = PROMPT_LENGTH[row], LENGTH[row]
    np.testing.assert_array_equal(made[row, :prompt], TOKENS[row, :prompt])
    np.testing.assert_array_equal(made[row, end:], TOKENS[row, end:])
  nothing_to_change = run(1.0, prompt_length=LENGTH)
  np.testing.assert_array_equal(nothing_to_change, TOKENS)


def test_constant_speech_and_one_frame_of_prompt_stay_finite():
  tokens = np.broadcast_to(TOKENS[:1, 20:21], (1, T, Q))
  made = run(1.0, tokens, np.array([T]), np.array([1]))
  np.testing.assert_array_equal(decoded(made).shape, (1, T, C))
  np.testing.assert_allclose(decoded(made), decoded(tokens), atol=0.05)


def test_refuses_more_than_all_of_the_way():
  for strength in (-0.1, 1.1):
    with pytest.raises(ValueError, match=r"prompt_match must be in \[0.0, 1"):
      SamplerConfig(prompt_match=strength)
