"""Likeness to the prompt: against plain NumPy, and what it leaves alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from soundstorm_jax.config import SamplerConfig
from soundstorm_jax.models import quantizer
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


def shares_of_kinds(vectors):
  """Of eight clusters of the first codebook; (frames, 8)."""
  empty = quantizer.empty_codebooks(1, 8, dim=C)
  centres = np.asarray(
    quantizer.initialize(
      jnp.asarray(CODEBOOKS[:1]), empty, key=jax.random.key(0), iterations=20
    ).vectors[0]
  )
  left = np.mean(
    [min(((c - z) ** 2).sum() for z in centres) for c in CODEBOOKS[0]]
  )
  rows = []
  for vector in vectors:
    near = np.array([((vector - z) ** 2).sum() for z in centres])
    odds = np.exp(-(near - near.min()) / (2 * 0.2 * left))
    rows.append(odds / odds.sum())
  return np.array(rows)


def reference_row(tokens, prompt_length, length, strength):
  tokens = tokens.copy()
  prompt = decoded(tokens[:prompt_length]).astype(np.float64)
  made = decoded(tokens[prompt_length:length]).astype(np.float64)
  of_prompt, of_made = shares_of_kinds(prompt), shares_of_kinds(made)
  result = np.zeros_like(made)
  for n in range(8):
    way = strength
    for shares in (of_prompt[:, n], of_made[:, n]):
      way *= shares.sum() / (shares.sum() + 3)
    for c in range(C):
      means, spreads = [], []
      for part, shares in ((prompt, of_prompt[:, n]), (made, of_made[:, n])):
        mean = np.average(part[:, c], weights=shares)
        variance = np.average((part[:, c] - mean) ** 2, weights=shares)
        means.append(mean)
        spreads.append(max(np.sqrt(variance), 0.01))
      factor = min(max(spreads[0] / spreads[1], 1.0), 2.0) ** way
      centre = means[1] + way * (means[0] - means[1])
      moved = centre + (made[:, c] - means[1]) * factor
      result[:, c] += of_made[:, n] * moved
  for t in range(prompt_length, length):
    tokens[t] = encode(result[t - prompt_length])
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


def many_frames(latents):
  """One row of tokens, as near to the latents as the codebooks get."""
  return np.stack([encode(vector) for vector in latents])[None]


def test_moves_mean_and_deviation_to_the_prompts():
  """Of one kind of frame: all near one code of the first level."""
  rng = np.random.default_rng(3)
  middle = CODEBOOKS[0][0]
  prompt = middle + 0.4 * rng.normal(size=(300, C)) + [0.3, -0.3, 0.2]
  tokens = many_frames(
    np.concatenate([prompt, middle + 0.2 * rng.normal(size=(300, C))])
  )
  made = run(1.0, tokens, np.array([600]), np.array([300]))
  before, after = decoded(tokens[0]), decoded(made[0])
  for measure in (np.mean, np.std):
    wanted = measure(before[:300], axis=0)
    was = np.abs(measure(before[300:], axis=0) - wanted)
    now = np.abs(measure(after[300:], axis=0) - wanted)
    assert (now < 0.4 * was + 0.02).all()


def test_pauses_stay_pauses_however_few_the_prompt_has():
  rng = np.random.default_rng(4)
  far = [np.linalg.norm(c - CODEBOOKS[0][0]) for c in CODEBOOKS[0]]
  pause, voice = CODEBOOKS[0][0], CODEBOOKS[0][int(np.argmax(far))]

  def part(pauses, voiced, offset):
    middles = np.repeat([pause, voice + offset], [pauses, voiced], axis=0)
    return middles + 0.1 * rng.normal(size=middles.shape)

  tokens = many_frames(np.concatenate([part(5, 145, 0.3), part(75, 75, 0.0)]))
  made = run(1.0, tokens, np.array([300]), np.array([150]))
  before, after = decoded(tokens[0, 150:]), decoded(made[0, 150:])
  moved = np.abs(after - before).mean(axis=1)
  assert moved[:75].mean() < 0.1
  assert moved[75:].mean() > 0.15


def test_speech_of_more_variance_than_the_prompt_keeps_it():
  rng = np.random.default_rng(5)
  middle = CODEBOOKS[0][0]
  spreads = np.repeat([0.1, 0.3], 300)[:, None]
  tokens = many_frames(middle + spreads * rng.normal(size=(600, C)))
  after = decoded(run(1.0, tokens, np.array([600]), np.array([300]))[0, 300:])
  before = decoded(tokens[0, 300:])
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
