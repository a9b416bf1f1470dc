"""Training of SoundStorm (arXiv 2305.09636, sections 2.2 and 4.1).

A mask is drawn for every example inside the step; the network predicts the
masked tokens of one level per example. All metrics are sums and counts of
masked tokens.

Axes: B batch, T frames, Q levels, V codes.
"""

import functools
import itertools
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jaxtyping import Array, Key

from soundstorm_jax.config import TrainConfig
from soundstorm_jax.data.token_source import token_source
from soundstorm_jax.soundstorm import codebook_start, masking
from soundstorm_jax.soundstorm.config import SoundStormTrainingConfig
from soundstorm_jax.soundstorm.network import SoundStorm, parameter_count
from soundstorm_jax.soundstorm.sampler import make_sampler
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


class SoundStormTask:
  """SoundStorm's part of a training run; the loop is in `train.py`.

  Batches are {"acoustic": (B, T, Q) int32, "semantic": (B, T) int32,
  "valid": (B, T) bool}.

  Raises:
    ValueError: at construction, the sampler's levels are not the model's, or
      the codec's weights are missing, or are of something else, or have too
      few levels or codes.
  """

  def __init__(self, config: TrainConfig):
    settings: SoundStormTrainingConfig = config.system
    model = settings.model
    self._config, self._settings = config, settings
    self._model = SoundStorm(model)
    self._optimizer = optimizer_lib.make_optimizer(
      config.optimizer, config.steps
    )
    self._sampler = None
    if settings.codebook_start_batches and not settings.codec_weights:
      raise ValueError(
        f"codebook_start_batches={settings.codebook_start_batches} needs the "
        "codec of the tokens: set codec_weights"
      )
    uses_codec = config.sample_every or settings.codebook_start_batches
    if uses_codec and settings.codec_weights:
      self._codec = load_codec(
        settings.codec_weights, levels=model.levels, codes=model.codes
      )
      if config.sample_every:
        self._sampler = make_sampler(model, settings.sampler)

  def init_state(self, key: Key[Array, ""]) -> TrainState:
    """Fresh parameters, boxed with their logical axes."""
    frame = jnp.zeros((1, 1), jnp.int32)
    tokens = jnp.zeros((1, 1, self._settings.model.levels), jnp.int32)
    params = self._model.init(key, tokens, frame, None, level=0)["params"]
    return new_state(params, self._optimizer)

  def start_from_data(
    self,
    state: TrainState,
    batches: Iterator[dict[str, Array]],
    key: Key[Array, ""],
  ) -> TrainState:
    """Parameters of `start`; or embeddings and heads from the codec."""
    if path := self._settings.start:
      params = start.read(state.params, path, kind="soundstorm")
      return new_state(params, self._optimizer)
    count = self._settings.codebook_start_batches
    if count == 0:
      return state
    model = self._settings.model
    books = self._codec.codebooks[: model.levels]
    counts = (
      codebook_start.count_codes(
        batch, books, semantic_vocab=model.semantic_vocab
      )
      for batch in itertools.islice(batches, count)
    )
    # One after another: not all batches' counts need be kept.
    total = functools.reduce(
      lambda so_far, part: jax.tree.map(jnp.add, so_far, part), counts
    )
    params = codebook_start.start_from_codebooks(
      state.params, books, total, key=key
    )
    return new_state(params, self._optimizer)

  def train_step(
    self, state: TrainState, batch: dict[str, Array], key: Key[Array, ""]
  ) -> tuple[TrainState, Metrics]:
    """One step; see `training.task`."""
    mask_key, dropout_key = jax.random.split(key)
    # Drawn for the whole batch at once, whatever it is cut into.
    mask = self._draw(mask_key, batch)
    rows = jnp.arange(batch["valid"].shape[0])

    def loss(params: Any, part: Any) -> tuple[Mean, Metrics]:
      batch, mask, rows = part
      part_key = jax.random.fold_in(dropout_key, rows[0])
      metrics = self._scores(params, batch, mask=mask, dropout_key=part_key)
      return metrics["loss"], metrics

    return descend(
      loss,
      state,
      (batch, mask, rows),
      optimizer=self._optimizer,
      config=self._config.optimizer,
    )

  def eval_step(
    self, state: TrainState, batch: dict[str, Array], key: Key[Array, ""]
  ) -> Metrics:
    """The training metrics under the averaged parameters."""
    mask = self._draw(key, batch)
    return self._scores(state.ema_params, batch, mask=mask, dropout_key=None)

  def _draw(
    self, key: Key[Array, ""], batch: dict[str, Array]
  ) -> masking.TrainingMask:
    return masking.draw_mask(
      key,
      batch["valid"],
      levels=self._settings.model.levels,
      config=self._settings.masking,
    )

  def _scores(
    self,
    params: Any,
    batch: dict[str, Array],
    *,
    mask: masking.TrainingMask,
    dropout_key: Key[Array, ""] | None,
  ) -> Metrics:
    model = self._settings.model
    deterministic = dropout_key is None or not model.conformer.dropout
    tokens = masking.mask_tokens(batch["acoustic"], mask, mask_id=model.mask_id)
    semantic = masking.drop_semantic(
      batch["semantic"], mask, null_id=model.null_semantic_id
    )
    logits = self._model.apply(
      {"params": params},
      tokens,
      semantic,
      batch["valid"],
      level=mask.level,
      deterministic=deterministic,
      rngs=None if deterministic else {"dropout": dropout_key},
    )
    truth = masking.tokens_at_level(batch["acoustic"], mask.level)
    scores = masked_cross_entropy(logits, truth, target=mask.target)
    frames = jnp.arange(batch["valid"].shape[1])
    maskable = batch["valid"] & (frames >= mask.delimiter[:, None])
    metrics = {
      "mask_ratio": Mean(
        jnp.sum(scores.count), jnp.sum(maskable, dtype=jnp.float32)
      )
    }
    named = {"loss": scores.loss, "top1": scores.top1, "top10": scores.top10}
    for name, values in named.items():
      metrics[name] = Mean(jnp.sum(values), jnp.sum(scores.count))
      # The paper counts levels from 1, and so do reports.
      for level in range(model.levels):
        here = (mask.level == level).astype(jnp.float32)
        metrics[f"{name}_level_{level + 1:02d}"] = Mean(
          jnp.sum(values * here), jnp.sum(scores.count * here)
        )
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
    """Held-out speech as the codec has it, and made from semantic tokens.

    Only with `codec_weights`. Without a prompt, so the voice is free.
    """
    if self._sampler is None:
      return
    rows = multihost_utils.process_allgather(batch, tiled=True)
    length = rows["valid"].sum(-1).astype(np.int32)
    tokens = self._sampler(
      {"params": state.ema_params},
      rows["semantic"],
      prompt=np.zeros_like(rows["acoustic"]),
      prompt_length=np.zeros_like(length),
      length=length,
      keys=jax.random.split(jax.random.key(0), len(length)),
    )
    tokens = multihost_utils.process_allgather(tokens, tiled=True)
    write_speech(
      {"codec": rows["acoustic"], "made": tokens},
      length,
      codec=self._codec,
      writer=writer,
      step=step,
    )

  def flops_per_frame(self, frames: int) -> float:
    """Three times the forward pass: matrix products and attention.

    Embeddings are looked up, not multiplied, and only one head is computed.
    """
    model = self._settings.model
    dim = model.conformer.dim
    tables = model.levels * (model.codes + 1) + model.semantic_vocab + 1
    unused = (tables + (model.levels - 1) * model.codes) * dim
    attention = 4 * model.conformer.layers * dim * frames
    return 3.0 * (2 * (parameter_count(model) - unused) + attention)


def make_source(config: TrainConfig, share: Share) -> Source | OnDevice:
  """Windows of tokens; see `token_source`."""
  return token_source(
    config.data,
    model=config.system.model,
    seed=config.seed,
    **share._asdict(),
  )


def weights(config: TrainConfig, state: Mapping[str, Any]) -> Weights:
  """What is shipped of a run."""
  return Weights("soundstorm", config.system.model, state["ema_params"])


SYSTEM = System(SoundStormTrainingConfig, SoundStormTask, make_source, weights)
