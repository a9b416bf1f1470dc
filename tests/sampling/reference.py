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
  still = least_sure(confidences, initial, step, steps=steps)
  return np.array(tokens), np.array([t in still for t in range(len(tokens))])


def nearest_step(logits, tokens, *, masked, initial, codebook, step, steps):
  """One step of one row that draws nothing, frame by frame.

  Returns tokens, masked, and the mean codes by frame.
  """
  tokens, expected, confidences = list(tokens), {}, []
  for t in np.flatnonzero(masked):
    tokens[t] = nearest_to_expected(logits[t], codebook)
    expected[t] = mean_code(logits[t], codebook)
    confidences.append((-variance(logits[t], codebook), t))
  still = least_sure(confidences, initial, step, steps=steps)
  still = np.array([t in still for t in range(len(tokens))])
  return np.array(tokens), still, expected


def least_sure(confidences, initial, step, *, steps):
  """The frames that a step leaves masked, of (confidence, frame) of all."""
  if step + 1 == steps or not confidences:
    return set()
  share = math.cos(math.pi / 2 * (step + 1) / steps)
  count = math.floor(initial * share + 1e-9)
  count = max(1, min(len(confidences) - 1, count))
  return {t for _, t in sorted(confidences)[:count]}


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
  codebooks=None,
):
  """Decodes one row: `logits_fn` maps tokens (T, Q), level to logits (T, V).

  With codebooks (Q, V, C), the codes nearest to what is expected are taken, the
  surest are kept, and levels without iterations tell what is left.
  """
  frames, levels = prompt.shape
  tokens = np.zeros_like(prompt)
  tokens[:prompt_length] = prompt[:prompt_length]
  tokens[prompt_length:length] = codes
  index, rest = 0, {}
  for level in range(levels):
    for step in range(iterations[level]):
      logits = logits_fn(tokens, level)
      masked = tokens[:, level] == codes
      if codebooks is not None:
        taken, still, expected = nearest_step(
          logits,
          tokens[:, level],
          masked=masked,
          initial=length - prompt_length,
          codebook=codebooks[level],
          step=step,
          steps=iterations[level],
        )
        tokens[:, level] = np.where(still, codes, taken)
        rest |= expected
      elif step + 1 == iterations[level]:
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
  passed = sum(count > 0 for count in iterations)
  for t in range(prompt_length, length):
    for finer in range(passed, levels):
      rest[t] = rest[t] - codebooks[finer - 1][tokens[t, finer - 1]]
      tokens[t, finer] = nearest_code(rest[t], codebooks[finer])
  return tokens


def nearest_to_expected(logits, codebook):
  """The code of least squared distance to the mean code under softmax."""
  return nearest_code(mean_code(logits, codebook), codebook)


def mean_code(logits, codebook):
  """The mean under softmax, of codes or of what is known of each."""
  odds = np.exp(np.asarray(logits, np.float64) - np.max(logits))
  return sum(p * c for p, c in zip(odds / odds.sum(), codebook, strict=True))


def variance(logits, codebook):
  """The mean squared distance to the mean code under softmax."""
  mean = mean_code(logits, codebook)
  return mean_code(logits, [np.square(code - mean).sum() for code in codebook])


def nearest_code(vector, codebook):
  """The code of least squared distance to a vector."""
  return int(np.argmin([np.square(vector - code).sum() for code in codebook]))
