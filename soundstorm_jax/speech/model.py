"""Speech from semantic tokens in a given voice: the models, ready to use.

  model = soundstorm_jax.load()
  tokens = model.encode(audio, sample_rate)
  audio = model.generate(tokens.semantic, prompt=voice, seed=0)

Prompt and target are decoded as one sequence (SoundStorm, arXiv 2305.09636,
section 2.3), by the codec too, which needs what came before; then the target is
cut out.

Requests run in batches of one size, filled up with dummy rows. The length of a
batch follows from each request's own length, and a request's noise from its own
seed. So its tokens are the same whatever else is asked for, and each length is
compiled once.

Axes: N and M samples, S semantic tokens, T frames, Q levels.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from fractions import Fraction
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from soundstorm_jax.audiolm.config import AudioLMSamplerConfig, AudioLMStages
from soundstorm_jax.data.tokenizer import Tokenizer
from soundstorm_jax.data.tokenizer_batches import encode_recording
from soundstorm_jax.soundstorm.config import (
  SamplerConfig,
  SoundStormConfig,
  default_sampler,
)
from soundstorm_jax.soundstorm.int8 import quantize_params, unscanned
from soundstorm_jax.soundstorm.network import parameter_count
from soundstorm_jax.soundstorm.sampler import make_sampler
from soundstorm_jax.soundstream.tokenizer import SoundStreamTokenizer
from soundstorm_jax.speech.layout import (
  Limits,
  Row,
  Shape,
  batches,
  check_ids,
  fill_up,
  lay_out,
  next_bucket,
  pad,
  row_keys,
  sampler_inputs,
)
from soundstorm_jax.speech.requests import (
  Generated,
  Request,
  SpeechTokens,
  Times,
)
from soundstorm_jax.speech.sampling_flags import in_words

# Two an octave: at most half as much padding as data, and little to compile.
# The last is 41 s at 50 frames/s.
BUCKETS = (128, 192, 256, 384, 512, 768, 1024, 1536, 2048)

# SoundStorm's, or those of AudioLM, its baseline (`audiolm`).
ModelConfig = SoundStormConfig | AudioLMStages
AnySampler = SamplerConfig | AudioLMSamplerConfig


class SpeechModel:
  """SoundStorm with the tokenizers that its tokens come from.

  `audiolm.AudioLMModel` is the same for AudioLM: what takes the one takes the
  other.

  Attributes:
    config: SoundStorm's sizes.
    codec: the acoustic tokenizer.
    semantic_tokenizer: the semantic one.
    sampler: the settings of generation, unless others are asked for.
    batch_size: rows of every batch.
    limits: what requests must keep to.
    sample_rate: of the audio it makes, in Hz.
    hop: samples of a frame.
    fingerprints: of the weights, by kind.

  Args:
    config: SoundStorm's sizes.
    params: SoundStorm's parameters.
    codec: its first `config.levels` levels are used.
    semantic_tokenizer: of any rate.
    batch_size: rows of every batch.
    sampler: if None, the paper's: 16 passes at the first level, one at each
      other.
    buckets: lengths in frames that batches have, ascending; the last one is
      the longest possible request, prompt included.
    fingerprints: of the model's own weights, by kind.
    int8: the Conformer's matrix products are of integers (`soundstorm.int8`).

  Raises:
    ImportError: int8 is asked for and qwix is not installed.
    ValueError: the three do not fit together, or batch_size or buckets are not
      positive and ascending.
  """

  def __init__(
    self,
    config: ModelConfig,
    *,
    params: Any,
    codec: SoundStreamTokenizer,
    semantic_tokenizer: Tokenizer,
    batch_size: int = 4,
    sampler: AnySampler | None = None,
    buckets: Sequence[int] = BUCKETS,
    fingerprints: Mapping[str, str] | None = None,
    int8: bool = False,
  ):
    if config.levels > codec.levels or config.codes != codec.vocabulary:
      raise ValueError(
        f"the model predicts {config.levels} levels of {config.codes} codes, "
        f"the codec has {codec.levels} of {codec.vocabulary}"
      )
    if config.semantic_vocab != semantic_tokenizer.vocabulary:
      raise ValueError(
        f"the model takes {config.semantic_vocab} semantic tokens, the "
        f"tokenizer has {semantic_tokenizer.vocabulary}"
      )
    if batch_size < 1:
      raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    buckets = tuple(buckets)
    if not buckets or buckets[0] < 1 or buckets != tuple(sorted({*buckets})):
      raise ValueError(f"buckets must be positive and ascend, got {buckets}")
    self._int8 = int8
    self.config = unscanned(config) if int8 else config
    self.codec = codec
    self.semantic_tokenizer = semantic_tokenizer
    self.sampler = sampler or default_sampler(config.levels)
    self.batch_size = batch_size
    self.limits = Limits(
      levels=config.levels,
      codes=config.codes,
      semantic_vocab=config.semantic_vocab,
      semantic_rate=Fraction(semantic_tokenizer.tokens_per_second),
      frame_rate=Fraction(codec.tokens_per_second),
      buckets=buckets,
    )
    self.sample_rate = codec.sample_rate
    self.hop = codec.codec.config.hop
    self.fingerprints = {
      **({"soundstorm": ""} if fingerprints is None else fingerprints),
      "soundstream": codec.fingerprint,
      "semantic": semantic_tokenizer.fingerprint,
    }
    self._variables = self._prepare(params)
    self._samplers: dict[tuple[Shape, AnySampler], Callable] = {}
    self._decoders: dict[tuple[int, int], Callable] = {}

  def encode(
    self, audio: Float[np.ndarray, "N"], sample_rate: int
  ) -> SpeechTokens:
    """Tokens of a recording; a last, partial frame counts.

    Args:
      audio: mono, nominally in [-1, 1].
      sample_rate: of `audio`, in Hz.

    Raises:
      ValueError: the audio is empty or not finite.
    """
    if not audio.size:
      raise ValueError("audio must have at least one sample, got none")
    if not np.isfinite(audio).all():
      raise ValueError("audio must be finite, got infinite or NaN samples")
    acoustic = encode_recording(self.codec, audio, sample_rate)
    return SpeechTokens(
      semantic=encode_recording(self.semantic_tokenizer, audio, sample_rate),
      acoustic=acoustic[:, : self.config.levels],
    )

  def decode(self, acoustic: Int[np.ndarray, "T Q"]) -> Float[np.ndarray, "N"]:
    """Audio of frames, T * hop samples; fewer levels sound coarser.

    Raises:
      ValueError: no frame, more than the largest bucket, ids out of range, or a
        wrong number of levels.
    """
    check_ids("acoustic", acoustic, self.config.codes)
    bucket = next_bucket(len(acoustic), self.limits.buckets)
    # In the batch of generation, dummies beside it, instead of one more shape.
    batch = np.stack([pad(acoustic, bucket)] * self.batch_size)
    audio = self._decoder(bucket, acoustic.shape[1])(jnp.asarray(batch))
    return np.array(audio[0, : len(acoustic) * self.hop])

  def generate(
    self,
    semantic: Int[np.ndarray, "S"],
    *,
    prompt: SpeechTokens | Float[np.ndarray, "N"] | None = None,
    prompt_rate: int | None = None,
    seed: int = 0,
    frames: int | None = None,
    sampler: AnySampler | None = None,
  ) -> Float[np.ndarray, "M"]:
    """Generates one utterance; `generate_batch` makes many and tells the times.

    Args:
      semantic: what to say.
      prompt: a few seconds of the voice to say it in, as tokens or audio.
      prompt_rate: of a prompt that is audio, in Hz; the model's own if None.
      seed: of the noise.
      frames: of the result; as many as `semantic` covers if None.
      sampler: other settings than the model's own.

    Returns:
      float32 audio of frames * hop samples, without the prompt.

    Raises:
      ValueError: see `generate_batch`.
    """
    if isinstance(prompt, np.ndarray):
      prompt = self.encode(prompt, prompt_rate or self.sample_rate)
    request = Request(semantic, prompt=prompt, seed=seed, frames=frames)
    return self.generate_batch([request], sampler=sampler)[0].audio

  def generate_batch(
    self,
    requests: Iterable[Request],
    *,
    sampler: AnySampler | None = None,
  ) -> list[Generated]:
    """Generates utterances, in as few batches as their lengths allow.

    Args:
      requests: in any order.
      sampler: other settings than the model's own.

    Returns:
      One result a request, in their order.

    Raises:
      ValueError: before anything is computed, if `layout.lay_out` refuses a
        request, or the sampler's levels are not the model's.
    """
    sampler = sampler or self.sampler
    rows = [lay_out(request, self.limits) for request in requests]
    results: dict[int, Generated] = {}
    for shape, numbers in batches(
      rows, size=self.batch_size, shape=self._shape
    ):
      made = self._run([rows[number] for number in numbers], shape, sampler)
      results |= dict(zip(numbers, made, strict=True))
    return [results[number] for number in range(len(rows))]

  def _run(
    self, rows: list[Row], shape: Shape, sampler: AnySampler
  ) -> list[Generated]:
    """Runs one batch."""
    bucket = shape[0]
    began = time.perf_counter()
    is_new = (shape, sampler) not in self._samplers
    sample = self._sampler(shape, sampler)
    decode = self._decoder(bucket, self.config.levels)
    compile_s = time.perf_counter() - began if is_new else 0.0

    batch = fill_up(rows, size=self.batch_size, bucket=bucket)
    began = time.perf_counter()
    inputs = sampler_inputs(batch, shape)
    tokens = sample(self._variables, inputs.pop("semantic"), **inputs)
    tokens = jax.block_until_ready(tokens)
    sample_s = time.perf_counter() - began
    began = time.perf_counter()
    audio = np.asarray(decode(tokens))
    decode_s = time.perf_counter() - began

    tokens = np.asarray(tokens)
    frames = sum(row.frames for row in rows)
    times = Times(
      compile_s=compile_s,
      sample_s=sample_s,
      decode_s=decode_s,
      passes=self._passes(batch, sampler),
      requests=len(rows),
      audio_s=frames * self.hop / self.sample_rate,
    )
    results = []
    for index, row in enumerate(rows):
      start, end = len(row.prompt), len(row.semantic)
      results.append(
        Generated(
          # Copies, so that a result does not keep its whole batch in memory.
          audio=audio[index, start * self.hop : end * self.hop].copy(),
          acoustic=tokens[index, start:end].copy(),
          prompt_frames=start,
          bucket=bucket,
          times=times,
        )
      )
    return results

  def facts(self) -> dict[str, str]:
    """The model and its sampler in words, for reports."""
    million = parameter_count(self.config) / 1e6
    sampling = in_words(self.sampler)
    if self._int8:
      sampling += ", int8 products"
    return {
      "Model": f"SoundStorm, {million:.1f} million parameters",
      "Sampling": sampling,
    }

  def _prepare(self, params: Any) -> dict[str, Any]:
    """What the sampler takes as parameters."""
    if self._int8:
      return {"params": quantize_params(params, self.config)}
    return {"params": jax.tree.map(jnp.asarray, params)}

  def _shape(self, row: Row) -> Shape:
    """Frames of a row's batch, and of the prompts there."""
    return row.bucket, row.bucket

  def _passes(self, batch: list[Row], sampler: AnySampler) -> int:
    """Of the networks, one after another, for a batch."""
    del batch
    return sampler.passes * (2 if sampler.guidance_scale else 1)

  def _make_sampler(self, sampler: AnySampler) -> Callable:
    """The jitted sampler."""
    return make_sampler(self.config, sampler, int8=self._int8)

  def _sampler(self, shape: Shape, sampler: AnySampler) -> Callable:
    """The compiled sampler for batches of one shape."""
    key = (shape, sampler)
    if key not in self._samplers:
      rows, (frames, prompt_frames) = self.batch_size, shape

      def ints(*shape):
        return jax.ShapeDtypeStruct(shape, jnp.int32)

      lowered = self._make_sampler(sampler).lower(
        self._variables,
        ints(rows, frames),
        prompt=ints(rows, prompt_frames, self.config.levels),
        prompt_length=ints(rows),
        length=ints(rows),
        keys=jax.eval_shape(lambda: row_keys([0] * rows)),
      )
      self._samplers[key] = lowered.compile()
    return self._samplers[key]

  def _decoder(self, bucket: int, levels: int) -> Callable:
    """The codec's compiled decoder for batches of one length."""
    key = (bucket, levels)
    if key not in self._decoders:
      self._decoders[key] = self.codec.codec.compile_decode(
        self.batch_size, frames=bucket, levels=levels
      )
    return self._decoders[key]
