"""Encoder and centres trained together: the tokens come to say the phones."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from soundstorm_jax.config import to_mapping
from soundstorm_jax.parallel import rules
from soundstorm_jax.semantic.learned import (
  KIND,
  LearnedTokenizer,
  tokenizer_params,
)
from soundstorm_jax.semantic.network import SemanticEncoder
from soundstorm_jax.semantic.tokens_task import SemanticTokensTask
from soundstorm_jax.weights import save_weights
from tests.semantic.test_encoder_task import LOUD, batch, mean


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
  """An untrained encoder and random centres."""
  frame = jnp.zeros((1, 1, 64))
  params = SemanticEncoder(LOUD.system.model).init(
    jax.random.key(0), frame, None
  )
  rng = np.random.default_rng(0)
  path = tmp_path_factory.mktemp("start") / "semantic.safetensors"
  save_weights(
    path,
    {
      "params": rules.unbox(params["params"]),
      "centres": rng.normal(size=(12, 16)),
      "mean": 0.1 * rng.normal(size=16),
      "std": 1 + rng.uniform(size=16),
    },
    config=to_mapping(LOUD.system.model),
    kind=KIND,
    dtype="float32",
  )
  return str(path)


def config(tokenizer, **changes):
  return dataclasses.replace(
    LOUD,
    task="semantic_tokens",
    system=dataclasses.replace(LOUD.system, start=tokenizer, **changes),
  )


def start(config):
  task = SemanticTokensTask(config)
  state = rules.unbox(task.init_state(jax.random.key(0)))
  return task, task.start_from_data(state, iter(()), jax.random.key(0))


def test_it_starts_with_the_tokens_of_its_start(tokenizer):
  _, state = start(config(tokenizer))
  learned = LearnedTokenizer.load(tokenizer)
  rows = batch()
  expected = learned.encode(rows["audio"], rows["length"])
  started = LearnedTokenizer(
    LOUD.system.model,
    **tokenizer_params(
      state.params["encoder"], np.asarray(state.params["centres"])
    ),
    fingerprint="",
  ).encode(rows["audio"], rows["length"])
  np.testing.assert_array_equal(started[0], expected[0])
  np.testing.assert_array_equal(started[1, :12], expected[1, :12])


def test_the_tokens_come_to_say_the_phones_and_the_sound(tokenizer):
  task, state = start(config(tokenizer))
  evaluate = jax.jit(task.eval_step)
  step = jax.jit(task.train_step)
  first = evaluate(state, batch(), jax.random.key(1))
  for number in range(60):
    state, metrics = step(state, batch(), jax.random.key(number))
  assert np.isfinite(mean(metrics, "loss"))
  last = evaluate(state, batch(), jax.random.key(1))
  assert mean(last, "phone_loss") < 0.5 * mean(first, "phone_loss")
  assert mean(last, "mel_loss") < 0.5 * mean(first, "mel_loss")
  assert mean(last, "centre_loss") < mean(first, "centre_loss")


def test_what_follows_a_recording_does_not_count(tokenizer):
  task, state = start(config(tokenizer))
  evaluate = jax.jit(task.eval_step)
  one, other = batch(), batch()
  other["audio"][1, 8000:] = 1.0
  first, second = (evaluate(state, x, jax.random.key(0)) for x in (one, other))
  for name in ("phone_loss", "mel_loss", "centre_loss", "commit_loss"):
    assert mean(first, name) == pytest.approx(mean(second, name), rel=1e-4)
  # Log-mel channels of 1.3 s, in frames of 10 ms.
  assert float(first["mel_loss"].count) == 130 * 16


def test_refuses_a_start_that_does_not_fit(tokenizer, tmp_path):
  with pytest.raises(ValueError, match="start must name"):
    SemanticTokensTask(config(""))
  encoder = dataclasses.replace(LOUD.system.model, mels=20)
  with pytest.raises(ValueError, match=r"start: .* has .*kernel.* of shape"):
    start(config(tokenizer, model=encoder))
  other = tmp_path / "other.safetensors"
  save_weights(other, {"x": np.zeros(1)}, config={}, kind="soundstorm")
  with pytest.raises(ValueError, match="must hold semantic_learned"):
    SemanticTokensTask(config(str(other)))
