"""Training of the semantic tokens: the encoder and its centres together.

It goes on from a tokenizer that k-means made. From the tokens alone a decoder
tells the phones, frame by frame and in order (CTC), and the log-mel frames as
they were recorded, whatever was done to the voice that the encoder heard.

Axes: B batch, N samples, P log-mel frames of 10 ms, V centres.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key

from soundstorm_jax.config import TrainConfig
from soundstorm_jax.data.phones import PHONES
from soundstorm_jax.semantic import examples, learned, network, phone_losses
from soundstorm_jax.semantic.config import SemanticTrainingConfig
from soundstorm_jax.semantic.tokens_network import (
  Heard,
  SemanticTokens,
  rescale_output,
)
from soundstorm_jax.training import optimizer as optimizer_lib
from soundstorm_jax.training import start
from soundstorm_jax.training.metrics import Mean, Metrics
from soundstorm_jax.training.state import TrainState, new_state
from soundstorm_jax.training.step import descend
from soundstorm_jax.training.system import System, Weights
from soundstorm_jax.training.writer import MetricWriter
from soundstorm_jax.weights import load_weights


class SemanticTokensTask:
  """The tokens' part of a training run; the loop is in `train.py`.

  Batches are {"audio": (B, N) float32, "length": (B,) int32, "phones": (B, P)
  int32}.

  Raises:
    ValueError: at construction, frames are not 10 ms, windows are no whole
      number of tokens, `start` is no file of such tokens, or see
      `make_listener`; at the start, they are those of another encoder.
  """

  def __init__(self, config: TrainConfig):
    examples.check_sizes(config)
    self._config = config
    self._settings: SemanticTrainingConfig = config.system
    self._listener = examples.make_listener(config)
    if not self._settings.start:
      raise ValueError("start must name semantic.safetensors, got nothing")
    parts = jax.tree.map(
      jnp.asarray, load_weights(self._settings.start, kind=learned.KIND).params
    )
    self._start = {
      "encoder": rescale_output(parts["params"], parts["mean"], parts["std"]),
      "centres": parts["centres"],
    }
    self._model = SemanticTokens(
      self._settings.model,
      decoder_layers=self._settings.decoder_layers,
      centres=len(self._start["centres"]),
      phones=len(PHONES),
    )
    self._optimizer = optimizer_lib.make_optimizer(
      config.optimizer, config.steps
    )

  def init_state(self, key: Key[Array, ""]) -> TrainState:
    """Fresh parameters, boxed with their logical axes."""
    frame = jnp.zeros((1, 1, self._listener.channels))
    params = self._model.init(key, frame, None)["params"]
    return new_state(params, self._optimizer)

  def start_from_data(
    self,
    state: TrainState,
    batches: Iterator[dict[str, Array]],
    key: Key[Array, ""],
  ) -> TrainState:
    """Encoder and centres from the tokenizer; no data is looked at."""
    del batches, key
    known = {name: state.params[name] for name in self._start}
    known = start.replace(known, self._start, path=self._settings.start)
    return new_state(state.params | known, self._optimizer)

  def train_step(
    self, state: TrainState, batch: dict[str, Array], key: Key[Array, ""]
  ) -> tuple[TrainState, Metrics]:
    """One step; see `training.task`."""
    rows = jnp.arange(batch["length"].shape[0])

    def loss(params: Any, part: Any) -> tuple[Mean, Metrics]:
      batch, rows = part
      draw, dropout = jax.random.split(jax.random.fold_in(key, rows[0]))
      example = examples.perturbed(
        draw,
        batch,
        listener=self._listener,
        training=self._settings,
      )
      metrics = self._scores(params, example, dropout=dropout)
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
    del key
    example = examples.plain(batch, self._listener)
    return self._scores(state.ema_params, example)

  def _apply(
    self,
    params: Any,
    example: examples.Example,
    *,
    dropout: Key[Array, ""] | None = None,
  ) -> Heard:
    return self._model.apply(
      {"params": params},
      example.frames,
      example.valid[:, :: network.FRAMES_PER_TOKEN],
      deterministic=dropout is None,
      rngs=None if dropout is None else {"dropout": dropout},
    )

  def _scores(
    self,
    params: Any,
    example: examples.Example,
    *,
    dropout: Key[Array, ""] | None = None,
  ) -> Metrics:
    """All losses, each a mean over what is known."""
    training = self._settings
    valid = example.valid[:, :: network.FRAMES_PER_TOKEN]
    heard = self._apply(params, example, dropout=dropout)
    metrics = phone_losses.phone_metrics(
      heard.phones, heard.ctc, example.phones, example.valid
    )
    step_weight = example.valid.astype(jnp.float32)
    weight = valid.astype(jnp.float32)
    aim = network.stack_frames(example.recorded)
    # Only frames of the recording count, of a token that it half fills, too.
    counted = network.stack_frames(
      jnp.broadcast_to(step_weight[..., None], example.recorded.shape)
    )
    metrics["mel_loss"] = Mean(
      jnp.sum(counted * jnp.square(heard.frames - aim)), counted.sum()
    )
    pull = jnp.square(jax.lax.stop_gradient(heard.features) - heard.chosen)
    commit = jnp.square(heard.features - jax.lax.stop_gradient(heard.chosen))
    metrics["centre_loss"] = Mean((weight * pull.mean(-1)).sum(), weight.sum())
    metrics["commit_loss"] = Mean(
      (weight * commit.mean(-1)).sum(), weight.sum()
    )
    return examples.with_loss(
      metrics,
      phone_loss=training.frame_weight,
      ctc_loss=training.ctc_weight,
      mel_loss=training.mel_weight,
      centre_loss=1.0,
      commit_loss=training.commitment,
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
  trained = state["ema_params"]
  params = examples.with_whisper(
    config.system,
    learned.tokenizer_params(trained["encoder"], trained["centres"]),
  )
  return Weights(learned.KIND, config.system.model, params)


SYSTEM = System(
  SemanticTrainingConfig, SemanticTokensTask, examples.make_source, weights
)
