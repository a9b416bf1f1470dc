"""What both systems are given, and how often their networks are passed."""

import numpy as np

from soundstorm_jax.audiolm.config import AudioLMSamplerConfig
from soundstorm_jax.audiolm.cost import count_passes
from soundstorm_jax.benchmarking.sizes import SIZES
from soundstorm_jax.benchmarking.systems import make_inputs
from soundstorm_jax.soundstorm.config import default_sampler
from tests.audiolm.tiny_audiolm import SEMANTIC
from tests.benchmarking.tiny_size import TINY


def test_passes_of_thirty_seconds_at_the_papers_size():
  model, _, stages = SIZES["paper"]
  assert default_sampler(model.levels).passes == 27
  given = {"frames": 1500, "prompt_length": [0], "length": [1500]}
  published = AudioLMSamplerConfig(parallel_chunks=False)
  assert sum(count_passes(stages, published, **given)) == 18_000 + 4 + 10


def test_utterances_are_the_same_for_all_batches():
  rng = np.random.default_rng
  one, again = (
    make_inputs(TINY, batch_size=2, frames=7, rng=rng(0)) for _ in range(2)
  )
  np.testing.assert_array_equal(one.semantic, again.semantic)
  assert one.semantic.shape == (2, 7)
  assert 0 <= one.semantic.min() <= one.semantic.max() < SEMANTIC
