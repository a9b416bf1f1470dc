"""A slow sampler in plain Python and NumPy, to compare the fast one with.

It shares nothing with the package but the noise, which comes from JAX's
generator by the documented derivation: the row's key folded with the number of
the pass, split into token noise and choice noise.
"""

import math

import jax
import numpy as np


def noise_of_row(key, index, frames, codes):
  """Token noise (T, V) and choice noise (T,) of a row in a pass."""
  token_key, choice_key = jax.random.split(jax.random.fold_in(key, index))
  return (
    np.asarray(jax.random.gumbel(token_key, (frames, codes))),
    np.asarray(jax.random.gumbel(choice_key, (frames,))),
  )


def sample_step(
  logits,
  tokens,
  *,
  masked,
  initial,
  token_noise,
  choice_noise,
  step,
  steps,
  temperature,
  choice_temperature,
):
  """One MaskGIT step of one row, frame by frame; returns tokens and masked."""
  tokens, unknown = list(tokens), [t for t, m in enumerate(masked) if m]
  confidences = []
  for t in unknown:
    row = np.float32(logits[t]) / np.float32(temperature)
    tokens[t] = int(np.argmax(row + token_noise[t]))
    shifted = row.astype(np.float64) - row.max()
    log_probability = shifted[tokens[t]] - np.log(np.exp(shifted).sum())
    annealed = choice_temperature * (1 - (step + 1) / steps)
    confidences.append((log_probability + annealed * choice_noise[t], t))
  still = set()
  if step + 1 < steps and unknown:
    share = math.cos(math.pi / 2 * (step + 1) / steps)
    count = math.floor(initial * share + 1e-9)
    count = max(1, min(len(unknown) - 1, count))
    still = {t for _, t in sorted(confidences)[:count]}
  return np.array(tokens), np.array([t in still for t in range(len(tokens))])


def decode_row(
  logits_fn,
  *,
  prompt,
  prompt_length,
  length,
  key,
  codes,
  iterations,
  temperature,
  choice_temperature,
):
  """Decodes one row: `logits_fn` maps tokens (T, Q), level to logits (T, V)."""
  frames, levels = prompt.shape
  tokens = np.zeros_like(prompt)
  tokens[:prompt_length] = prompt[:prompt_length]
  tokens[prompt_length:length] = codes
  index = 0
  for level in range(levels):
    for step in range(iterations[level]):
      logits = logits_fn(tokens, level)
      masked = tokens[:, level] == codes
      if step + 1 == iterations[level]:
        for t in np.flatnonzero(masked):
          tokens[t, level] = int(np.argmax(logits[t]))
      else:
        token_noise, choice_noise = noise_of_row(key, index, frames, codes)
        sampled, still = sample_step(
          logits,
          tokens[:, level],
          masked=masked,
          initial=length - prompt_length,
          token_noise=token_noise,
          choice_noise=choice_noise,
          step=step,
          steps=iterations[level],
          temperature=temperature,
          choice_temperature=choice_temperature,
        )
        tokens[:, level] = np.where(still, codes, sampled)
      index += 1
  return tokens
