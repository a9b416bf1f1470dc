"""Training of the codec: SoundStream (arXiv 2107.03312, section III).

The generator (encoder, decoder) and the discriminators step together; the
codebooks are moving averages, carried in the state and updated by a pure
function.

With a teacher, which is another codec, three things change. The encoder learns
its latents by regression, and takes over its codebooks. The decoder hears the
teacher's codes, of some examples or all. And the speech that it is to make is
for some examples the teacher's from the same codes: a function of what the
decoder hears, while the recording is only one of all that sound alike.

Axis letters: B batch, N samples, T frames, Q levels, V codes, D latent width.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from soundstorm_jax.config import TrainConfig
from soundstorm_jax.models import quantizer
from soundstorm_jax.models.codec import Codec
from soundstorm_jax.models.discriminators import Discriminators
from soundstorm_jax.models.soundstream import SoundStream
from soundstorm_jax.training import codec_losses, codec_start, keys, start
from soundstorm_jax.training.audible import load_codec
from soundstorm_jax.training.metrics import Mean
from soundstorm_jax.training.optimizer import (
  make_optimizer,
  update,
  update_ema,
)
from soundstorm_jax.weights import load_weights


class CodecState(NamedTuple):
  """Everything a codec run carries from step to step.

  Attributes:
    step: completed steps.
    params: encoder and decoder.
    opt_state: their optimizer's.
    ema_params: their moving average, which is evaluated and exported.
    codebooks: the quantizer's.
    discriminators: parameters.
    discriminators_opt: their optimizer's.
  """

  step: Int[Array, ""]
  params: Any
  opt_state: Any
  ema_params: Any
  codebooks: quantizer.Codebooks
  discriminators: Any
  discriminators_opt: Any


class _Lesson(NamedTuple):
  """What a teacher says of a batch.

  Attributes:
    latents: (B, T, D) its encoder's.
    heard: (B, 1, 1) whether the decoder hears these instead of its encoder's.
    spoken: (B, 1) whether the target is the teacher's speech.
  """

  latents: Array
  heard: Array
  spoken: Array


class SoundStreamTask:
  """The codec's part of a training run; the loop is in `train.py`.

  Batches are {"audio": (B, N) float32}, N a multiple of the hop and at least
  the longest loss window.

  Raises:
    ValueError: at construction, gradient accumulation is asked for (the
      codebooks follow whole batches), the window has a part of a frame, or the
      teacher has other frames, latents, levels or codes.
    FileNotFoundError: there is no such teacher.
  """

  def __init__(self, config: TrainConfig):
    self._config = config
    if config.optimizer.accumulate != 1:
      raise ValueError(
        "the codec's codebooks follow whole batches: optimizer.accumulate "
        f"must be 1, got {config.optimizer.accumulate}"
      )
    rate = config.soundstream.sample_rate
    samples = round(config.data.window_seconds * rate)
    limit = max(codec_losses.MEL_WINDOWS)
    if samples % config.soundstream.hop or samples < limit:
      raise ValueError(
        f"data.window_seconds={config.data.window_seconds} is {samples} "
        f"samples; it must be a multiple of the hop "
        f"{config.soundstream.hop}, and at least {limit}"
      )
    self._samples = samples
    self._model = SoundStream(config.soundstream)
    self._judges = Discriminators(
      config.codec_training.discriminator_channels,
      light=config.codec_training.light_discriminators,
    )
    self._teacher = self._load_teacher()
    self._optimizer = make_optimizer(config.optimizer, config.steps)
    self._judge_optimizer = optax.adam(
      config.codec_training.discriminator_lr, b1=0.5, b2=0.9
    )

  def _load_teacher(self) -> Codec | None:
    path, codec = self._config.codec_training.teacher, self._config.soundstream
    if not path:
      return None
    teacher = load_codec(path, levels=codec.levels, codes=codec.codes)
    for name in ("sample_rate", "hop", "dim", "levels"):
      ours, theirs = getattr(codec, name), getattr(teacher.config, name)
      if ours != theirs:
        raise ValueError(
          f"the teacher {path} has {name} {theirs}, the codec {ours}"
        )
    return teacher

  def init_state(self, key: Array) -> CodecState:
    """Fresh parameters, boxed with their logical axes."""
    model_key, judge_key = jax.random.split(key)
    audio = jnp.zeros((1, self._samples))
    params = self._model.init(model_key, audio)["params"]
    judges = self._judges.init(judge_key, audio)["params"]
    codec = self._config.soundstream
    return CodecState(
      step=jnp.zeros((), jnp.int32),
      params=params,
      opt_state=self._optimizer.init(params),
      ema_params=jax.tree.map(jnp.copy, params),
      codebooks=quantizer.empty_codebooks(
        codec.levels, codec.codes, dim=codec.dim
      ),
      discriminators=judges,
      discriminators_opt=self._judge_optimizer.init(judges),
    )

  def start_from_data(
    self, state: CodecState, batches: Iterator[dict[str, Array]], key: Array
  ) -> CodecState:
    """Weights of `start`; codebooks also of the teacher, or of batches."""
    if path := self._config.start:
      state = self._start_from(state, path)
    if self._teacher is not None:
      return state._replace(
        codebooks=quantizer.settled_codebooks(self._teacher.codebooks)
      )
    count = self._config.codec_training.start_batches
    if count == 0 or self._config.start:
      return state
    audio = [next(batches)["audio"] for _ in range(count)]
    books = codec_start.start_codebooks(
      self._config.soundstream, state.params, audio, key=key
    )
    return state._replace(codebooks=books)

  def _start_from(self, state: CodecState, path: str) -> CodecState:
    weights = load_weights(path, kind="soundstream").params
    params = start.replace(state.params, weights["params"], path=path)
    books = jnp.asarray(weights["codebooks"])
    if books.shape != state.codebooks.vectors.shape:
      raise ValueError(
        f"start: {path} has codebooks of shape {books.shape}, the config's "
        f"codec {state.codebooks.vectors.shape}"
      )
    return state._replace(
      params=params,
      ema_params=jax.tree.map(jnp.copy, params),
      codebooks=quantizer.settled_codebooks(books),
    )

  def train_step(
    self, state: CodecState, batch: dict[str, Array], key: Array
  ) -> tuple[CodecState, dict[str, Mean]]:
    """One step of everything; metrics are sums and counts."""
    config = self._config.codec_training
    audio = batch["audio"]
    examples = audio.shape[0]
    init_key, dropout_key, revive_key, share_key = jax.random.split(key, 4)
    levels_used = self._draw_levels(dropout_key, examples)
    quantizing = state.step >= config.quantizer_start
    books = jax.lax.cond(
      quantizing & ~state.codebooks.initialized,
      lambda: quantizer.initialize(
        self._encode(state.params, audio), state.codebooks, key=init_key
      ),
      lambda: state.codebooks,
    )
    lesson = self._lesson(audio, share_key)
    # A run that ends before the discriminators join need not compile them.
    joins = config.adversarial_start < self._config.steps
    adversarial = joins and state.step >= config.adversarial_start

    def loss_of(params):
      latents = self._encode(params, audio)
      parts = {}
      heard = latents
      if lesson is not None:
        parts["latents"] = codec_losses.latent_loss(lesson.latents, latents)
        heard = jnp.where(lesson.heard, lesson.latents, latents)
      quantized = quantizer.quantize(
        heard, books.vectors, levels_used=levels_used
      )
      # Straight through: the decoder sees codes, the encoder its gradient.
      lost = jax.lax.stop_gradient(quantized.values - heard)
      made = self._decode(params, heard + jnp.where(quantizing, lost, 0.0))
      target = audio
      if lesson is not None:
        speech = self._teacher.speak(quantized.values)
        target = jnp.where(lesson.spoken, speech, audio)
      parts |= {
        "mel": codec_losses.mel_loss(
          target, made, sample_rate=self._config.soundstream.sample_rate
        ),
        "commitment": quantizing
        * quantizer.commitment_loss(heard, quantized, levels_used=levels_used),
        "waveform": jnp.mean(jnp.abs(target - made)),
      }
      if config.spectrum_weight:
        parts["spectrum"] = codec_losses.spectrum_loss(target, made)
      parts["adversarial"], parts["feature"] = _cond(
        adversarial,
        lambda: self._judged(state.discriminators, target, made),
        lambda: (jnp.zeros(()), jnp.zeros(())),
      )
      weights = {
        "latents": config.latent_weight,
        "mel": config.mel_weight * (state.step >= config.mel_start),
        "commitment": config.commitment_weight,
        "waveform": config.waveform_weight,
        "spectrum": config.spectrum_weight,
        "adversarial": config.adversarial_weight,
        "feature": config.feature_weight,
      }
      loss = sum(weights[name] * part for name, part in parts.items())
      return loss, (parts, target, made, quantized)

    (loss, (parts, target, made, quantized)), grads = jax.value_and_grad(
      loss_of, has_aux=True
    )(state.params)
    stepped = update(
      self._optimizer, grads, params=state.params, opt_state=state.opt_state
    )
    judges, judges_opt, judge_loss = _cond(
      adversarial,
      lambda: self._judge_step(state, target, jax.lax.stop_gradient(made)),
      lambda: (
        state.discriminators,
        state.discriminators_opt,
        jnp.zeros(()),
      ),
    )
    following = CodecState(
      step=state.step + 1,
      params=stepped.params,
      opt_state=stepped.opt_state,
      ema_params=update_ema(
        state.ema_params,
        stepped.params,
        decay=self._config.optimizer.ema_decay,
        step=state.step,
      ),
      # Codebooks that stay need not compile what would move them.
      codebooks=_cond(
        config.codebook_decay < 1 and quantizing,
        lambda: quantizer.update(
          books,
          quantized,
          levels_used=levels_used,
          key=revive_key,
          decay=config.codebook_decay,
          dead_below=config.dead_code_threshold,
        ),
        lambda: books,
      ),
      discriminators=judges,
      discriminators_opt=judges_opt,
    )
    usage = jnp.mean(books.counts > config.dead_code_threshold)
    scalars = {
      "loss": loss,
      **parts,
      "discriminator": judge_loss,
      "codes_alive": usage,
      **stepped.norms,
    }
    return following, {
      name: Mean(value * examples, jnp.float32(examples))
      for name, value in scalars.items()
    }

  def eval_step(
    self, state: CodecState, batch: dict[str, Array], key: Array
  ) -> dict[str, Mean]:
    """Spectral distance and SI-SDR of the averaged model, by levels used."""
    del key
    audio = batch["audio"]
    examples = audio.shape[0]
    latents = self._encode(state.ema_params, audio)
    codes = quantizer.quantize(latents, state.codebooks.vectors).codes
    metrics = {}
    levels = self._config.soundstream.levels
    for used in sorted({1, (levels + 2) // 3, levels}):
      made = self._decode(
        state.ema_params,
        quantizer.dequantize(codes[..., :used], state.codebooks.vectors),
      )
      mel = codec_losses.mel_loss(
        audio, made, sample_rate=self._config.soundstream.sample_rate
      )
      quality = {"mel": mel, "si_sdr": jnp.mean(si_sdr(audio, made))}
      for name, value in quality.items():
        metrics[f"{name}_{used}_levels"] = Mean(
          value * examples, jnp.float32(examples)
        )
    if self._teacher is not None:
      distance = codec_losses.latent_loss(self._teacher.latents(audio), latents)
      metrics["latents"] = Mean(distance * examples, jnp.float32(examples))
    metrics["loss"] = metrics[f"mel_{levels}_levels"]
    return metrics

  def write_samples(
    self, state: CodecState, batch: dict[str, Array], *, writer: Any, step: int
  ) -> None:
    """Originals and reconstructions, as audio for TensorBoard."""
    codec = Codec(
      self._config.soundstream,
      params=state.ema_params,
      codebooks=state.codebooks.vectors,
    )
    audio = batch["audio"][:4]
    made = codec.decode(codec.encode(audio))
    writer.write_audios(
      step,
      {
        "original": audio[..., None],
        "reconstruction": made[:, : audio.shape[1], None],
      },
      sample_rate=self._config.soundstream.sample_rate,
    )

  def _encode(self, params, audio):
    return self._model.apply({"params": params}, audio, method="encode")

  def _decode(self, params, latents):
    return self._model.apply({"params": params}, latents, method="decode")

  def _lesson(self, audio: Array, key: Array) -> _Lesson | None:
    """What the teacher says of a batch; None without one."""
    if self._teacher is None:
      return None
    config = self._config.codec_training
    draws = jax.vmap(lambda k: jax.random.uniform(k, (2, 1)))(
      keys.by_example(key, audio.shape[0])
    )
    return _Lesson(
      latents=self._teacher.latents(audio),
      heard=draws[:, :1] < config.teacher_latents,
      spoken=draws[:, 1] < config.teacher_speech,
    )

  def _draw_levels(self, key, examples):
    """Quantizer dropout: n_q ~ U[1, Q] per example (section III-C)."""
    levels = self._config.soundstream.levels
    if not self._config.codec_training.quantizer_dropout:
      return jnp.full((examples,), levels)
    return jax.vmap(lambda k: jax.random.randint(k, (), 1, levels + 1))(
      keys.by_example(key, examples)
    )

  def _judged(self, judges, real, made):
    real_views = self._judges.apply({"params": judges}, real)
    made_views = self._judges.apply({"params": judges}, made)
    return (
      codec_losses.adversarial_loss(made_views),
      codec_losses.feature_loss(real_views, made_views),
    )

  def _judge_step(self, state, real, made):
    def loss_of(params):
      return codec_losses.discriminator_loss(
        self._judges.apply({"params": params}, real),
        self._judges.apply({"params": params}, made),
      )

    loss, grads = jax.value_and_grad(loss_of)(state.discriminators)
    updates, opt_state = self._judge_optimizer.update(
      grads, state.discriminators_opt, state.discriminators
    )
    judges = optax.apply_updates(state.discriminators, updates)
    return judges, opt_state, loss


def _cond(predicate, on_true, on_false):
  """`lax.cond`, unless the predicate is known when the step is traced."""
  if predicate is False:
    return on_false()
  return jax.lax.cond(predicate, on_true, on_false)


def si_sdr(
  real: Float[Array, "B N"], made: Float[Array, "B N"]
) -> Float[Array, "B"]:
  """Scale-invariant signal-to-distortion ratio in dB."""
  scale = jnp.sum(real * made, -1) / (jnp.sum(real * real, -1) + 1e-8)
  target = scale[:, None] * real
  noise = made - target
  ratio = (jnp.sum(target**2, -1) + 1e-8) / (jnp.sum(noise**2, -1) + 1e-8)
  return 10 * jnp.log10(ratio)
