"""Training of the codec: SoundStream (arXiv 2107.03312, section III).

The generator (encoder, decoder) and the discriminators step together; the
codebooks are moving averages, carried in the state and updated by a pure
function.

With a teacher (`teacher.py`) encoder and decoder learn from another codec too.

Axis letters: B batch, N samples, T frames, Q levels, V codes, D latent width.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array

from soundstorm_jax.config import TrainConfig
from soundstorm_jax.soundstream import codebook_start, losses, quantizer
from soundstorm_jax.soundstream.codec import Codec
from soundstorm_jax.soundstream.config import SoundStreamTrainingConfig
from soundstorm_jax.soundstream.discriminators import Discriminators
from soundstorm_jax.soundstream.network import SoundStream
from soundstorm_jax.soundstream.state import CodecState
from soundstorm_jax.soundstream.teacher import give_lesson, load_teacher
from soundstorm_jax.training import keys, start
from soundstorm_jax.training.feed import OnDevice, Source
from soundstorm_jax.training.metrics import Mean
from soundstorm_jax.training.optimizer import (
  learning_rate,
  make_optimizer,
  update,
  update_ema,
)
from soundstorm_jax.training.system import Share, System, Weights
from soundstorm_jax.weights import load_weights


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
    settings: SoundStreamTrainingConfig = config.system
    self._settings, model = settings, settings.model
    if config.optimizer.accumulate != 1:
      raise ValueError(
        "the codec's codebooks follow whole batches: optimizer.accumulate "
        f"must be 1, got {config.optimizer.accumulate}"
      )
    rate = model.sample_rate
    samples = round(config.data.window_seconds * rate)
    limit = max(losses.MEL_WINDOWS)
    if samples % model.hop or samples < limit:
      raise ValueError(
        f"data.window_seconds={config.data.window_seconds} is {samples} "
        f"samples; it must be a multiple of the hop "
        f"{model.hop}, and at least {limit}"
      )
    self._samples = samples
    self._model = SoundStream(model)
    self._judges = Discriminators(
      settings.discriminator_channels,
      light=settings.light_discriminators,
    )
    self._teacher = load_teacher(settings)
    self._optimizer = make_optimizer(
      config.optimizer, config.steps, muon=settings.muon
    )
    self._judge_optimizer = optax.adam(
      settings.discriminator_lr, b1=0.5, b2=0.9
    )

  def init_state(self, key: Array) -> CodecState:
    """Fresh parameters, boxed with their logical axes."""
    model_key, judge_key = jax.random.split(key)
    audio = jnp.zeros((1, self._samples))
    params = self._model.init(model_key, audio)["params"]
    judges = self._judges.init(judge_key, audio)["params"]
    codec = self._settings.model
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
    if path := self._settings.start:
      state = self._start_from(state, path)
    if self._teacher is not None:
      return state._replace(
        codebooks=quantizer.settled_codebooks(self._teacher.codebooks)
      )
    count = self._settings.start_batches
    if count == 0 or self._settings.start:
      return state
    audio = [next(batches)["audio"] for _ in range(count)]
    books = codebook_start.start_codebooks(
      self._settings.model, state.params, audio, key=key
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
    config = self._settings
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
    lesson = None
    if self._teacher is not None:
      lesson = give_lesson(self._teacher, audio, config=config, key=share_key)
    # A run that ends before the discriminators join need not compile them.
    joins = config.adversarial_start < self._config.steps
    adversarial = joins and state.step >= config.adversarial_start

    def loss_of(params):
      latents = self._encode(params, audio)
      parts = {}
      heard = latents
      if lesson is not None:
        parts["latents"] = losses.latent_loss(lesson.latents, latents)
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
        "mel": losses.mel_loss(
          target, made, sample_rate=self._settings.model.sample_rate
        ),
        "commitment": quantizing
        * quantizer.commitment_loss(heard, quantized, levels_used=levels_used),
        "waveform": jnp.mean(jnp.abs(target - made)),
      }
      if config.spectrum_weight:
        parts["spectrum"] = losses.spectrum_loss(target, made)
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
    levels = self._settings.model.levels
    for used in sorted({1, (levels + 2) // 3, levels}):
      made = self._decode(
        state.ema_params,
        quantizer.dequantize(codes[..., :used], state.codebooks.vectors),
      )
      mel = losses.mel_loss(
        audio, made, sample_rate=self._settings.model.sample_rate
      )
      quality = {"mel": mel, "si_sdr": jnp.mean(losses.si_sdr(audio, made))}
      for name, value in quality.items():
        metrics[f"{name}_{used}_levels"] = Mean(
          value * examples, jnp.float32(examples)
        )
    if self._teacher is not None:
      distance = losses.latent_loss(self._teacher.latents(audio), latents)
      metrics["latents"] = Mean(distance * examples, jnp.float32(examples))
    metrics["loss"] = metrics[f"mel_{levels}_levels"]
    return metrics

  def window_frames(self, batch: Mapping[str, Any]) -> int:
    """See `training.task`."""
    return batch["audio"].shape[1] // self._settings.model.hop

  def write_samples(
    self, state: CodecState, batch: dict[str, Array], *, writer: Any, step: int
  ) -> None:
    """Originals and reconstructions, as audio for TensorBoard."""
    codec = Codec(
      self._settings.model,
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
      sample_rate=self._settings.model.sample_rate,
    )

  def _encode(self, params, audio):
    return self._model.apply({"params": params}, audio, method="encode")

  def _decode(self, params, latents):
    return self._model.apply({"params": params}, latents, method="decode")

  def _draw_levels(self, key, examples):
    """Quantizer dropout: n_q ~ U[1, Q] per example (section III-C)."""
    levels = self._settings.model.levels
    if not self._settings.quantizer_dropout:
      return jnp.full((examples,), levels)
    return jax.vmap(lambda k: jax.random.randint(k, (), 1, levels + 1))(
      keys.by_example(key, examples)
    )

  def _judged(self, judges, real, made):
    real_views = self._judges.apply({"params": judges}, real)
    made_views = self._judges.apply({"params": judges}, made)
    return (
      losses.adversarial_loss(made_views),
      losses.feature_loss(real_views, made_views),
    )

  def _judge_step(self, state, real, made):
    def loss_of(params):
      return losses.discriminator_loss(
        self._judges.apply({"params": params}, real),
        self._judges.apply({"params": params}, made),
      )

    loss, grads = jax.value_and_grad(loss_of)(state.discriminators)
    updates, opt_state = self._judge_optimizer.update(
      grads, state.discriminators_opt, state.discriminators
    )
    if self._settings.discriminator_decay:
      optimizer = self._config.optimizer
      rate = learning_rate(optimizer, self._config.steps)(state.step)
      updates = optax.tree.scale(rate / optimizer.lr, updates)
    judges = optax.apply_updates(state.discriminators, updates)
    return judges, opt_state, loss


def _cond(predicate, on_true, on_false):
  """`lax.cond`, unless the predicate is known when the step is traced."""
  if predicate is False:
    return on_false()
  return jax.lax.cond(predicate, on_true, on_false)


def make_source(config: TrainConfig, share: Share) -> Source | OnDevice:
  """Windows of audio, cut on the device or on the host."""
  if config.data.on_device:
    from soundstorm_jax.data.audio_strip import AudioStrip as AudioSource
  else:
    from soundstorm_jax.data.audio import AudioSource

  return AudioSource(
    config.data,
    config.system.model.sample_rate,
    seed=config.seed,
    **share._asdict(),
  )


def weights(config: TrainConfig, state: Mapping[str, Any]) -> Weights:
  """What is shipped of a run."""
  params = {
    "params": state["ema_params"],
    "codebooks": state["codebooks"]["vectors"],
  }
  return Weights("soundstream", config.system.model, params)


SYSTEM = System(
  SoundStreamTrainingConfig, SoundStreamTask, make_source, weights
)
