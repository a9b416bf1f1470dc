"""Training of AudioLM's acoustic stages (arXiv 2209.03143, section III-D).

Every token of the stage's levels is predicted from the true ones before it; the
conditioning is not predicted. All metrics are sums and counts of tokens.

Axes: B batch, T frames, Q levels, L levels of the stage.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jaxtyping import Array, Key

from soundstorm_jax.audiolm.conditioning import conditioning
from soundstorm_jax.audiolm.config import (
  AudioLMSamplerConfig,
  AudioLMTrainingConfig,
)
from soundstorm_jax.audiolm.network import (
  AudioLM,
  decoding_params,
  example_inputs,
  parameter_count,
)
from soundstorm_jax.audiolm.sampler import coarse_sampler, fine_sampler
from soundstorm_jax.config import TrainConfig
from soundstorm_jax.data.token_source import token_source
from soundstorm_jax.soundstream.audible import load_codec, write_speech
from soundstorm_jax.training import optimizer as optimizer_lib
from soundstorm_jax.training import start
from soundstorm_jax.training.cross_entropy import masked_cross_entropy
from soundstorm_jax.training.feed import OnDevice, Source
from soundstorm_jax.training.metrics import Mean, Metrics
from soundstorm_jax.training.state import TrainState, new_state
from soundstorm_jax.training.step import descend
from soundstorm_jax.training.system import Share, System, Weights
from soundstorm_jax.training.writer import MetricWriter


class AudioLMTask:
  """A stage's part of a training run; the loop is in `train.py`.

  Batches are {"acoustic": (B, T, Q) int32, "semantic": (B, T) int32,
  "valid": (B, T) bool}.

  Raises:
    ValueError: at construction, the codec's weights are of something else or
      have too few levels or codes.
  """

  def __init__(self, config: TrainConfig):
    settings: AudioLMTrainingConfig = config.system
    model = settings.model
    self._config, self._settings = config, settings
    self._model = AudioLM(model)
    self._optimizer = optimizer_lib.make_optimizer(
      config.optimizer, config.steps
    )
    self._sampler = None
    if config.sample_every and settings.codec_weights:
      self._codec = load_codec(
        settings.codec_weights, levels=model.levels, codes=model.codes
      )
      make = coarse_sampler if model.stage == "coarse" else fine_sampler
      self._sampler = jax.jit(make(model, AudioLMSamplerConfig()))

  def init_state(self, key: Key[Array, ""]) -> TrainState:
    """Fresh parameters, boxed with their logical axes."""
    inputs = example_inputs(self._settings.model)
    params = self._model.init(key, *inputs)["params"]
    return new_state(params, self._optimizer)

  def start_from_data(
    self,
    state: TrainState,
    batches: Iterator[dict[str, Array]],
    key: Key[Array, ""],
  ) -> TrainState:
    """Parameters of `start`, if there is one; no data is looked at."""
    del batches, key
    path = self._settings.start
    if not path:
      return state
    params = start.read(state.params, path, kind="audiolm")
    return new_state(params, self._optimizer)

  def train_step(
    self, state: TrainState, batch: dict[str, Array], key: Key[Array, ""]
  ) -> tuple[TrainState, Metrics]:
    """One step; see `training.task`."""
    rows = jnp.arange(batch["valid"].shape[0])

    def loss(params: Any, part: Any) -> tuple[Mean, Metrics]:
      batch, rows = part
      part_key = jax.random.fold_in(key, rows[0])
      metrics = self._scores(params, batch, dropout_key=part_key)
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
    """The training metrics under the averaged parameters; no chance in it."""
    del key
    return self._scores(state.ema_params, batch, dropout_key=None)

  def _scores(
    self,
    params: Any,
    batch: dict[str, Array],
    *,
    dropout_key: Key[Array, ""] | None,
  ) -> Metrics:
    model = self._settings.model
    deterministic = dropout_key is None or not model.transformer.dropout
    own = slice(model.first_level, model.first_level + model.target_levels)
    tokens = batch["acoustic"][:, :, own]
    logits = self._model.apply(
      {"params": params},
      tokens,
      conditioning(model, **batch),
      deterministic=deterministic,
      rngs=None if deterministic else {"dropout": dropout_key},
    )
    by_level = []
    for level in range(model.target_levels):
      scores = masked_cross_entropy(
        logits[:, :, level], tokens[:, :, level], target=batch["valid"]
      )
      by_level.append(jax.tree.map(jnp.sum, scores))
    metrics = {}
    for name in ("loss", "top1", "top10"):
      means = [Mean(getattr(s, name), s.count) for s in by_level]
      metrics[name] = jax.tree.map(lambda *parts: sum(parts), *means)
      for level, mean in enumerate(means, model.first_level):
        # The paper counts levels from 1, and so do reports.
        metrics[f"{name}_level_{level + 1:02d}"] = mean
    return metrics

  def window_frames(self, batch: Mapping[str, Any]) -> int:
    """See `training.task`."""
    return batch["valid"].shape[1]

  def write_samples(
    self,
    state: TrainState,
    batch: dict[str, Array],
    *,
    writer: MetricWriter,
    step: int,
  ) -> None:
    """Held-out speech as the codec has it, and as the stage makes it.

    Only with `codec_weights`. The coarse stage makes its levels from semantic
    tokens, and only these are heard; the fine stage completes true ones.
    """
    if self._sampler is None:
      return
    model = self._settings.model
    rows = multihost_utils.process_allgather(batch, tiled=True)
    length = rows["valid"].sum(-1).astype(np.int32)
    coarse = rows["acoustic"][:, :, : model.coarse_levels]
    is_coarse = model.stage == "coarse"
    made = self._sampler(
      decoding_params(model, state.ema_params),
      rows["semantic"] if is_coarse else coarse,
      prompt=np.zeros((len(length), 0, model.target_levels), np.int32),
      prompt_length=np.zeros_like(length),
      length=length,
      keys=jax.random.split(
        jax.random.key(0, impl="threefry2x32"), len(length)
      ),
    )
    made = multihost_utils.process_allgather(made, tiled=True)
    tokens = {"codec": coarse, "made": made}
    if not is_coarse:
      tokens = {
        "codec": rows["acoustic"],
        "made": np.concatenate([coarse, made], axis=-1),
      }
    write_speech(tokens, length, codec=self._codec, writer=writer, step=step)

  def flops_per_frame(self, frames: int) -> float:
    """Three times the forward pass: matrix products and attention.

    Embeddings are looked up, not multiplied; every slot attends to all, half of
    which is hidden from it.
    """
    model = self._settings.model
    dim, layers = model.transformer.dim, model.transformer.layers
    targets = frames * model.target_levels
    slots = model.prefix_length(frames) + targets
    heads = model.target_levels * model.codes * dim
    tables = (model.prefix_vocab + 1 + model.target_levels * model.codes) * dim
    blocks = parameter_count(model) - tables - heads
    products = 2 * (slots * blocks + targets * model.codes * dim)
    return 3.0 * (products + 4 * layers * dim * slots**2) / frames


def make_source(config: TrainConfig, share: Share) -> Source | OnDevice:
  """Windows of tokens; see `token_source`.

  Raises:
    ValueError: also if the windows are longer than the stage's.
  """
  model = config.system.model
  source = token_source(
    config.data, model=model, seed=config.seed, **share._asdict()
  )
  if source.frames > model.window_frames:
    raise ValueError(
      f"data.window_seconds must be at most {model.window_frames} frames, the "
      f"model's window_frames, got {source.frames} frames"
    )
  return source


def weights(config: TrainConfig, state: Mapping[str, Any]) -> Weights:
  """What is shipped of a run."""
  return Weights("audiolm", config.system.model, state["ema_params"])


SYSTEM = System(AudioLMTrainingConfig, AudioLMTask, make_source, weights)
