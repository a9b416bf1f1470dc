"""Token accuracy: against sums made by hand, with a network known exactly."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from soundstorm_jax.evaluation.tokens import count_codes, token_accuracy
from soundstorm_jax.soundstorm.network import SoundStorm
from soundstorm_jax.weights import load_weights
from tests.tiny_weights import MODEL, SEMANTIC, Q, V, write_weights

FRAMES = 12


def batches(count):
  """Rows of 12, 7 and 3 frames, and one that only fills the batch up."""
  rng = np.random.default_rng(0)
  valid = np.arange(FRAMES) < np.array([12, 7, 3, 0])[:, None]
  return [
    {
      "semantic": rng.integers(0, SEMANTIC, (4, FRAMES), dtype=np.int32),
      "acoustic": rng.integers(0, V, (4, FRAMES, Q), dtype=np.int32)
      * valid[:, :, None],
      "valid": valid,
    }
    for _ in range(count)
  ]


@pytest.fixture(scope="module")
def params(tmp_path_factory):
  folder = write_weights(tmp_path_factory.mktemp("weights"))
  return load_weights(folder / "soundstorm.safetensors").params


def judge(params, data, **values):
  values = {"prompt_frames": 5, "train_counts": np.ones((Q, V), int)} | values
  return dict(token_accuracy(MODEL, params=params, batches=data, **values))


def test_masked_sees_coarser_levels_and_the_prompt_alone(params):
  data = batches(2)
  measures = judge(params, data)
  apply = jax.jit(SoundStorm(MODEL).apply)
  for level in range(Q):
    loss = hits = count = 0
    for batch in data:
      tokens = batch["acoustic"].copy()
      for row in range(4):
        for frame in range(5, batch["valid"][row].sum()):
          tokens[row, frame, level:] = MODEL.mask_id
      logits = apply(
        {"params": params},
        jnp.asarray(tokens),
        jnp.asarray(batch["semantic"]),
        jnp.asarray(batch["valid"]),
        level=level,
      )
      logs = np.asarray(jax.nn.log_softmax(logits))
      # Only the first two rows are longer than the prompt.
      for row, length in ((0, 12), (1, 7)):
        for frame in range(5, length):
          truth = batch["acoustic"][row, frame, level]
          loss -= logs[row, frame, truth]
          hits += logs[row, frame].argmax() == truth
          count += 1
    row = f"level_{level + 1:02d}"
    assert measures[f"{row}/tokens"] == count == 18
    assert measures[f"{row}/masked_nats"] == pytest.approx(loss / count, 1e-4)
    assert measures[f"{row}/masked_top1"] == hits / count


def test_random_masks_follow_the_seed(params):
  data = batches(2)
  first, again = (judge(params, data, seed=1) for _ in range(2))
  other = judge(params, data, seed=2)
  assert first == again
  name = "level_01/random_nats"
  assert first[name] != other[name]
  assert first["level_01/masked_nats"] == other["level_01/masked_nats"]


def test_unigram_is_that_of_the_training_split(params):
  data = batches(1)
  counts = np.zeros((Q, V), int)
  counts[:, 3] = 10
  data[0]["acoustic"][0, 5:, 0] = 3
  data[0]["acoustic"][1, 5:, 0] = 4
  measures = judge(params, data, train_counts=counts)
  assert measures["level_01/unigram_top1"] == pytest.approx(7 / 9)
  assert measures["level_01/unigram_nats"] == pytest.approx(
    -(7 * np.log(11 / (10 + V)) + 2 * np.log(1 / (10 + V))) / 9
  )


def test_counts_codes_level_by_level():
  counts = count_codes(
    [np.array([[0, 1], [0, 2]]), np.array([[3, 1]])], levels=2, codes=4
  )
  np.testing.assert_array_equal(counts, [[2, 0, 0, 1], [0, 2, 1, 0]])


@pytest.mark.parametrize(
  ("values", "message"),
  [
    ({"train_counts": np.ones((Q, V + 1), int)}, "train_counts must be"),
    ({"prompt_frames": -1}, "prompt_frames must be at least 0, got -1"),
    ({"prompt_frames": 12}, "no utterance is longer than the prompt of 12"),
  ],
)
def test_refuses_what_it_cannot_judge(params, values, message):
  with pytest.raises(ValueError, match=message):
    judge(params, batches(1), **values)
