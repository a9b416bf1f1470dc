"""Speech by AudioLM's acoustic stages, SoundStorm's baseline, ready to use.

  model = soundstorm_jax.load_audiolm()
  audio = model.generate(tokens.semantic, prompt=voice, seed=0)

It takes and gives what `SpeechModel` does.

Axes: B batch.
"""

from collections.abc import Callable, Sequence
from typing import Any

from soundstorm_jax.audiolm.config import AudioLMSamplerConfig, AudioLMStages
from soundstorm_jax.audiolm.cost import Passes, count_passes
from soundstorm_jax.audiolm.network import decoding_params, parameter_count
from soundstorm_jax.audiolm.sampler import make_sampler
from soundstorm_jax.data.tokenizer import Tokenizer
from soundstorm_jax.soundstream.tokenizer import SoundStreamTokenizer
from soundstorm_jax.speech.layout import Row, Shape, next_bucket
from soundstorm_jax.speech.model import BUCKETS, SpeechModel


class AudioLMModel(SpeechModel):
  """AudioLM's acoustic stages with the tokenizers of their tokens.

  Batches are of like length and of like prompts: what is known takes one pass,
  as long as the longest prompt that the batch could have.

  Args:
    config: the stages' sizes.
    params: {"coarse": ..., "fine": ...}, as training gives them.
    codec: its first `config.levels` levels are used.
    semantic_tokenizer: of any rate.
    batch_size: rows of every batch.
    sampler: if None, the paper's temperatures.
    buckets: see `SpeechModel`.
    fingerprints: of both stages' weights, by name.

  Raises:
    ValueError: see `SpeechModel`.
  """

  def __init__(
    self,
    config: AudioLMStages,
    *,
    params: Any,
    codec: SoundStreamTokenizer,
    semantic_tokenizer: Tokenizer,
    batch_size: int = 4,
    sampler: AudioLMSamplerConfig | None = None,
    buckets: Sequence[int] = BUCKETS,
    fingerprints: dict[str, str] | None = None,
  ):
    super().__init__(
      config,
      params=params,
      codec=codec,
      semantic_tokenizer=semantic_tokenizer,
      batch_size=batch_size,
      sampler=sampler or AudioLMSamplerConfig(),
      buckets=buckets,
      fingerprints=fingerprints or {},
    )

  def facts(self) -> dict[str, str]:
    """See `SpeechModel`."""
    coarse, fine = (
      parameter_count(stage) / 1e6
      for stage in (self.config.coarse, self.config.fine)
    )
    return {
      "Model": (
        f"AudioLM's acoustic stages, {coarse:.1f} and {fine:.1f} million "
        "parameters"
      ),
      "Sampling": (
        f"token by token, temperatures {self.sampler.coarse_temperature} and "
        f"{self.sampler.fine_temperature}"
      ),
    }

  def count_passes(
    self, rows: Sequence[Row], sampler: AudioLMSamplerConfig | None = None
  ) -> Passes:
    """The passes of the networks for a batch, by stage and kind."""
    return count_passes(
      self.config,
      sampler or self.sampler,
      frames=rows[0].bucket,
      prompt_length=[len(row.prompt) for row in rows],
      length=[len(row.semantic) for row in rows],
    )

  def _prepare(self, params: Any) -> dict[str, Any]:
    return {
      stage: decoding_params(getattr(self.config, stage), params[stage])
      for stage in ("coarse", "fine")
    }

  def _shape(self, row: Row) -> Shape:
    prompt = len(row.prompt)
    longest = next_bucket(prompt, self.limits.buckets) if prompt else 0
    return row.bucket, longest

  def _passes(self, batch: Sequence[Row], sampler: AudioLMSamplerConfig) -> int:
    return sum(self.count_passes(batch, sampler))

  def _make_sampler(self, sampler: AudioLMSamplerConfig) -> Callable:
    return make_sampler(self.config, sampler)
