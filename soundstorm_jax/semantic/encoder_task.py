"""Training of the semantic encoder: BEST-RQ, and phones of the transcripts.

BEST-RQ (arXiv 2202.01855) hides spans of the input and has the network tell
their codes. That takes much speech to become phonetic; where there are
transcripts, losses on their phones are added: CTC, which needs their order
only, and cross-entropy in every frame, which needs their times.

The voice is perturbed, spans and channels are hidden and noise is added inside
the step. The evaluation perturbs nothing, and hides spans for BEST-RQ only.

Axes: B batch, N samples, P log-mel frames of 10 ms, T token frames.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key

from soundstorm_jax.config import TrainConfig
from soundstorm_jax.data.phones import PHONES
from soundstorm_jax.semantic import best_rq, examples, network, phone_losses
from soundstorm_jax.semantic.config import SemanticTrainingConfig
from soundstorm_jax.training import keys
from soundstorm_jax.training import optimizer as optimizer_lib
from soundstorm_jax.training.metrics import Mean, Metrics
from soundstorm_jax.training.state import TrainState, new_state
from soundstorm_jax.training.step import descend
from soundstorm_jax.training.system import System, Weights
from soundstorm_jax.training.writer import MetricWriter


class SemanticTask:
  """The semantic encoder's part of a training run; the loop is in `train.py`.

  Batches are {"audio": (B, N) float32, "length": (B,) int32, "phones": (B, P)
  int32}.

  Raises:
    ValueError: at construction, frames are not 10 ms, windows are no whole
      number of tokens, or see `make_listener`.
  """

  def __init__(self, config: TrainConfig):
    self._config = config
    self._settings: SemanticTrainingConfig = config.system
    encoder, training = self._settings.model, self._settings
    if training.start:
      raise ValueError(
        f"task {config.task!r} takes no start, got {training.start!r}"
      )
    examples.check_sizes(config)
    self._listener = examples.make_listener(config)
    self._model = network.SemanticEncoder(
      encoder, codes=training.codes, phones=len(PHONES)
    )
    self._quantizer = best_rq.random_quantizer(
      keys.stream(config.seed, name="quantizer"),
      channels=self._listener.channels,
      codes=training.codes,
      code_dim=training.code_dim,
    )
    self._optimizer = optimizer_lib.make_optimizer(
      config.optimizer, config.steps
    )

  def init_state(self, key: Key[Array, ""]) -> TrainState:
    """Fresh parameters, boxed with their logical axes."""
    frame = jnp.zeros((1, 1, self._listener.channels))
    params = self._model.init(key, frame, None, method="logits")["params"]
    return new_state(params, self._optimizer)

  def train_step(
    self, state: TrainState, batch: dict[str, Array], key: Key[Array, ""]
  ) -> tuple[TrainState, Metrics]:
    """One step; see `training.task`."""
    rows = jnp.arange(batch["length"].shape[0])

    def loss(params: Any, part: Any) -> tuple[Mean, Metrics]:
      batch, rows = part
      draw, hide, dropout = jax.random.split(
        jax.random.fold_in(key, rows[0]), 3
      )
      example = examples.perturbed(
        draw,
        batch,
        listener=self._listener,
        training=self._settings,
      )
      metrics = self._scores(params, example, hide=hide, dropout=dropout)
      # Each of the losses is a mean of its own, so parts count alike.
      return metrics["loss"], metrics

    return descend(
      loss,
      state,
      (batch, rows),
      optimizer=self._optimizer,
      config=self._config.optimizer,
    )

  def eval_step(
    self, state: TrainState, batch: dict[str, Array], key: Key[Array, ""]
  ) -> Metrics:
    """Metrics under the averaged parameters, nothing perturbed."""
    example = examples.plain(batch, self._listener)
    hidden = self._scores(state.ema_params, example, hide=key)
    seen = self._scores(state.ema_params, example)
    codes = {name: hidden[name] for name in ("code_loss", "code_top1")}
    return seen | codes

  def _scores(
    self,
    params: Any,
    example: examples.Example,
    *,
    hide: Key[Array, ""] | None = None,
    dropout: Key[Array, ""] | None = None,
  ) -> Metrics:
    """All losses; without `hide` no span is hidden, and no code predicted."""
    training = self._settings
    frames = example.frames
    valid = example.valid[:, :: network.FRAMES_PER_TOKEN]
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
    metrics |= phone_losses.phone_metrics(
      logits.phones, logits.ctc, example.phones, example.valid
    )
    return examples.with_loss(
      metrics,
      code_loss=1.0,
      phone_loss=training.frame_weight,
      ctc_loss=training.ctc_weight,
    )

  def window_frames(self, batch: Mapping[str, Any]) -> int:
    """See `training.task`."""
    return examples.window_frames(batch, self._settings.model)

  def write_samples(
    self,
    state: TrainState,
    batch: dict[str, Array],
    *,
    writer: MetricWriter,
    step: int,
  ) -> None:
    """Nothing to listen to."""


def weights(config: TrainConfig, state: Mapping[str, Any]) -> Weights:
  """What is shipped of a run."""
  params = examples.with_whisper(config.system, state["ema_params"])
  return Weights("semantic_encoder", config.system.model, params)


SYSTEM = System(
  SemanticTrainingConfig, SemanticTask, examples.make_source, weights
)
