"""Training of the semantic encoder: BEST-RQ, and phones of the transcripts.

BEST-RQ (arXiv 2202.01855) hides spans of the input and has the network tell
their codes. That takes much speech to become phonetic; where there are
transcripts, losses on their phones are added: CTC, which needs their order
only, and cross-entropy in every frame, which needs their times.

The voice is perturbed, spans and channels are hidden and noise is added inside
the step. The evaluation perturbs nothing, and hides spans for BEST-RQ only.

Axes: B batch, N samples, P log-mel frames of 10 ms, T token frames.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from clu import metric_writers
from jaxtyping import Array, Bool, Float, Int, Key

from soundstorm_jax.config import TrainConfig
from soundstorm_jax.data.phones import PHONES, STEPS_PER_SECOND
from soundstorm_jax.models import semantic
from soundstorm_jax.training import best_rq, keys, perturb
from soundstorm_jax.training import optimizer as optimizer_lib
from soundstorm_jax.training.metrics import Mean, Metrics
from soundstorm_jax.training.state import TrainState, new_state, next_state
from soundstorm_jax.training.step import accumulate


class Example(NamedTuple):
  """What a window became before spans were hidden.

  Attributes:
    mel: normalised log-mel frames.
    phones: numbers, at the same rate.
    valid: frames of the recording.
  """

  mel: Float[Array, "B P M"]
  phones: Int[Array, "B P"]
  valid: Bool[Array, "B P"]


class SemanticTask:
  """The semantic encoder's part of a training run; the loop is in `train.py`.

  Batches are {"audio": (B, N) float32, "length": (B,) int32, "phones": (B, P)
  int32}.

  Raises:
    ValueError: at construction, frames are not 10 ms, or windows are no whole
      number of tokens.
  """

  def __init__(self, config: TrainConfig):
    self._config = config
    encoder, training = config.semantic_encoder, config.semantic_training
    hop = semantic.hop_of(encoder)
    if hop * STEPS_PER_SECOND != encoder.sample_rate:
      raise ValueError(
        f"frames must be of 1 / {STEPS_PER_SECOND} s, got {hop} samples at "
        f"{encoder.sample_rate} Hz"
      )
    tokens = config.data.window_seconds * encoder.tokens_per_second
    if tokens != int(tokens):
      raise ValueError(
        "window_seconds must be a whole number of tokens at "
        f"{encoder.tokens_per_second} Hz, got {config.data.window_seconds}"
      )
    self._model = semantic.SemanticEncoder(
      encoder, codes=training.codes, phones=len(PHONES)
    )
    self._quantizer = best_rq.random_quantizer(
      keys.stream(config.seed, name="quantizer"),
      channels=semantic.FRAMES_PER_TOKEN * encoder.mels,
      codes=training.codes,
      code_dim=training.code_dim,
    )
    self._optimizer = optimizer_lib.make_optimizer(
      config.optimizer, config.steps
    )

  def init_state(self, key: Key[Array, ""]) -> TrainState:
    """Fresh parameters, boxed with their logical axes."""
    channels = semantic.FRAMES_PER_TOKEN * self._config.semantic_encoder.mels
    frame = jnp.zeros((1, 1, channels))
    params = self._model.init(key, frame, None, method="logits")["params"]
    return new_state(params, self._optimizer)

  def train_step(
    self, state: TrainState, batch: dict[str, Array], key: Key[Array, ""]
  ) -> tuple[TrainState, Metrics]:
    """One step; see `training.task`."""
    config = self._config.optimizer
    rows = jnp.arange(batch["length"].shape[0])

    def loss(params: Any, part: Any) -> tuple[Mean, Metrics]:
      batch, rows = part
      draw, hide, dropout = jax.random.split(
        jax.random.fold_in(key, rows[0]), 3
      )
      example = self._perturbed(draw, batch)
      metrics = self._scores(params, example, hide=hide, dropout=dropout)
      # Each of the losses is a mean of its own, so parts count alike.
      return metrics["loss"], metrics

    grads, _, metrics = accumulate(
      loss, state.params, (batch, rows), parts=config.accumulate
    )
    state, norms = next_state(
      state, grads, optimizer=self._optimizer, ema_decay=config.ema_decay
    )
    return state, metrics | norms

  def eval_step(
    self, state: TrainState, batch: dict[str, Array], key: Key[Array, ""]
  ) -> Metrics:
    """Metrics under the averaged parameters, nothing perturbed."""
    example = self._plain(batch)
    hidden = self._scores(state.ema_params, example, hide=key)
    seen = self._scores(state.ema_params, example)
    codes = {name: hidden[name] for name in ("code_loss", "code_top1")}
    return seen | codes

  def _plain(self, batch: dict[str, Array]) -> Example:
    config = self._config.semantic_encoder
    spectrum = semantic.spectrum(batch["audio"], batch["length"], config=config)
    frames = -(-batch["length"] // semantic.hop_of(config))
    valid = jnp.arange(spectrum.shape[1]) < frames[:, None]
    mel = semantic.log_mel(spectrum, config=config)
    return Example(semantic.normalise(mel, valid), batch["phones"], valid)

  def _perturbed(self, key: Key[Array, ""], batch: dict[str, Array]) -> Example:
    config = self._config.semantic_encoder
    training = self._config.semantic_training
    rows = batch["length"].shape[0]
    noise, warp, tempo, bands = jax.random.split(key, 4)
    audio = perturb.add_noise(
      noise, batch["audio"], least_snr=training.noise_snr
    )
    spectrum = semantic.spectrum(audio, batch["length"], config=config)
    spectrum = perturb.scale_frequencies(
      spectrum, perturb.random_factor(warp, rows, largest=training.warp)
    )
    mel = semantic.log_mel(spectrum, config=config)
    speed = perturb.random_factor(tempo, rows, largest=training.tempo)
    frames = -(-batch["length"] // semantic.hop_of(config))
    valid = jnp.arange(mel.shape[1]) * speed[:, None] < frames[:, None]
    # A faster window ends before the batch's does.
    valid &= jnp.arange(mel.shape[1]) * speed[:, None] < mel.shape[1]
    mel = semantic.normalise(perturb.change_tempo(mel, speed), valid)
    hidden = perturb.mel_mask(
      bands,
      rows,
      mels=config.mels,
      masks=training.mel_masks,
      width=training.mel_mask_width,
    )
    mel = jnp.where(hidden[:, None, :], 0.0, mel)
    phones = perturb.change_tempo_of_labels(batch["phones"], speed)
    return Example(mel, jnp.where(valid, phones, -1), valid)

  def _scores(
    self,
    params: Any,
    example: Example,
    *,
    hide: Key[Array, ""] | None = None,
    dropout: Key[Array, ""] | None = None,
  ) -> Metrics:
    """All losses; without `hide` no span is hidden, and no code predicted."""
    training = self._config.semantic_training
    frames = semantic.stack_frames(example.mel)
    valid = example.valid[:, :: semantic.FRAMES_PER_TOKEN]
    inputs, mask = frames, jnp.zeros_like(valid)
    if hide is not None:
      mask_key, noise_key = jax.random.split(hide)
      mask = best_rq.span_mask(
        mask_key,
        valid,
        probability=training.mask_probability,
        length=training.mask_frames,
      )
      inputs = best_rq.hide(noise_key, frames, mask)
    logits = self._model.apply(
      {"params": params},
      inputs,
      valid,
      deterministic=dropout is None,
      rngs=None if dropout is None else {"dropout": dropout},
      method="logits",
    )
    codes = best_rq.quantize(frames, self._quantizer)
    log_codes = jax.nn.log_softmax(logits.codes)
    log_code = jnp.take_along_axis(log_codes, codes[..., None], -1)[..., 0]
    hit = (logits.codes.argmax(-1) == codes).astype(jnp.float32)
    weight = mask.astype(jnp.float32)
    metrics = {
      "code_loss": Mean(-(weight * log_code).sum(), weight.sum()),
      "code_top1": Mean((weight * hit).sum(), weight.sum()),
    }
    shares, known = best_rq.phone_targets(example.phones, names=len(PHONES))
    surprise = -(shares * jax.nn.log_softmax(logits.phones)).sum()
    right = jnp.take_along_axis(
      shares, logits.phones.argmax(-1)[..., None], -1
    ).sum()
    metrics["phone_loss"] = Mean(surprise, known.sum())
    metrics["phone_top1"] = Mean(right, known.sum())
    sequence = best_rq.phone_sequence(
      example.phones, valid=example.valid, places=valid.shape[1]
    )
    length = (1 - sequence.padding).sum(1)
    ctc = best_rq.ctc(logits.ctc, sequence, valid=valid)
    # Per phone, so that a long window does not outweigh the others.
    metrics["ctc_loss"] = Mean(ctc.sum(), (length * (ctc > 0)).sum())
    loss = sum(
      weight * metrics[name].total / jnp.maximum(metrics[name].count, 1.0)
      for name, weight in (
        ("code_loss", 1.0),
        ("phone_loss", training.frame_weight),
        ("ctc_loss", training.ctc_weight),
      )
    )
    return metrics | {"loss": Mean.of(loss)}

  def write_samples(
    self,
    state: TrainState,
    batch: dict[str, Array],
    *,
    writer: metric_writers.MetricWriter,
    step: int,
  ) -> None:
    """Nothing to listen to."""
