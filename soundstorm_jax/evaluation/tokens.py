"""How well SoundStorm predicts the tokens of speech it has not seen.

Teacher-forced, level by level (SoundStorm, arXiv 2305.09636, sections 2.2 and
2.3): coarser levels are given, finer ones masked. The level itself is masked in
two ways:

  masked   everything after a prompt, as when decoding begins: the hardest case
  random   as in training: from a random delimiter on, with p = cos(u)

Beside it stands what needs no network: the level's most frequent code in the
training split (top-1), and the cross-entropy under the frequencies there, one
added to each count. It is judged on the same tokens as `masked`.

Axes: B batch, T frames, Q levels, V codes.
"""

import functools
import math
import pathlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import tqdm
from jaxtyping import Array, Bool, Float, Int, Shaped

from soundstorm_jax.config import DataConfig, from_mapping
from soundstorm_jax.evaluation.measures import Measure
from soundstorm_jax.soundstorm import masking
from soundstorm_jax.soundstorm.config import MaskingConfig, SoundStormConfig
from soundstorm_jax.soundstorm.network import SoundStorm
from soundstorm_jax.training.cross_entropy import masked_cross_entropy
from soundstorm_jax.weights import fingerprint, load_weights

_NAMES = ("masked", "random", "unigram")


def judge_tokens(
  weights: str | pathlib.Path,
  tokens: str | pathlib.Path,
  *,
  split: str = "test",
  train_split: str = "train",
  prompt_seconds: float = 3.0,
  window_seconds: float = 10.0,
  batch_size: int = 8,
  max_utterances: int | None = None,
  seed: int = 0,
) -> tuple[list[Measure], dict[str, Any]]:
  """Measures of a model's predictions, and what was judged.

  Args:
    weights: folder with soundstorm.safetensors. What else there is of the
      tokenizers must be what made the dataset.
    tokens: token dataset.
    split: held-out split.
    train_split: for the code frequencies.
    prompt_seconds: given before what is masked entirely.
    window_seconds: of each utterance, from its start; less if it is shorter.
    batch_size: utterances at a time.
    max_utterances: rounded up to whole batches; all if None.
    seed: of the random masks.

  Raises:
    FileNotFoundError: no weights.
    ValueError: weights of something else, a dataset of other sizes or made by
      other tokenizers, or what `token_accuracy` refuses.
  """
  # TensorFlow takes seconds to import, and judging a codec needs none of it.
  from soundstorm_jax.data.records import TokenRecords
  from soundstorm_jax.data.tokens import TokenSource

  if max_utterances is not None and max_utterances < 1:
    raise ValueError(f"max_utterances must be at least 1, got {max_utterances}")
  file = pathlib.Path(weights) / "soundstorm.safetensors"
  model = load_weights(file, kind="soundstorm")
  config = from_mapping(SoundStormConfig, model.config)
  train = TokenRecords(tokens, split=train_split)
  train.metadata.check_model(config, path=str(tokens))
  for kind, made_by in (
    ("soundstream", train.metadata.codec_fingerprint),
    ("semantic", train.metadata.semantic_fingerprint),
  ):
    other = file.with_name(f"{kind}.safetensors")
    if other.exists() and fingerprint(other) != made_by:
      raise ValueError(f"{tokens} was not made by {other} but by {made_by}")
  held_out = len(TokenRecords(tokens, split=split))
  count = min(max_utterances or held_out, held_out)
  source = TokenSource(
    DataConfig(
      path=str(tokens),
      split=train_split,
      eval_split=split,
      window_seconds=window_seconds,
      eval_batches=math.ceil(count / batch_size),
    ),
    batch_size=batch_size,
    seed=seed,
  )
  counts = count_codes(
    (train[number].acoustic for number in range(len(train))),
    levels=config.levels,
    codes=config.codes,
  )
  bar = tqdm.tqdm(
    source.eval_batches(), total=math.ceil(count / batch_size), unit="batch"
  )
  measures = list(
    token_accuracy(
      config,
      params=model.params,
      batches=(batch for batch in bar),
      train_counts=counts,
      prompt_frames=round(prompt_seconds * train.metadata.frame_rate),
      seed=seed,
    )
  )
  return measures, {
    "weights": {
      "soundstorm": fingerprint(file),
      "soundstream": train.metadata.codec_fingerprint,
      "semantic": train.metadata.semantic_fingerprint,
    }
  }


def token_accuracy(
  config: SoundStormConfig,
  *,
  params: Any,
  batches: Iterable[Mapping[str, Shaped[np.ndarray, "B T ..."]]],
  train_counts: Int[np.ndarray, "Q V"],
  prompt_frames: int,
  seed: int = 0,
) -> Iterator[Measure]:
  """Judges SoundStorm's predictions of held-out tokens.

  Args:
    config: of the model.
    params: its parameters.
    batches: as `data.tokens.TokenSource` gives them, all of one shape.
    train_counts: of each code in the training split (`count_codes`).
    prompt_frames: known at all levels before what is masked entirely;
      utterances that are no longer than that count only towards `random`.
    seed: of the random masks, which are the same for all levels.

  Yields:
    For each level q, from 1, level_q/...: `masked_top1`, `random_top1` and
    `unigram_top1`, shares of tokens from 0 to 1; `masked_nats`, `random_nats`
    and `unigram_nats`, cross-entropies; and `tokens`, how many were masked.

  Raises:
    ValueError: prompt_frames is negative, train_counts are of other sizes than
      the model, or no utterance is longer than the prompt.
  """
  sizes = (config.levels, config.codes)
  if train_counts.shape != sizes:
    raise ValueError(
      f"train_counts must be {sizes} (levels, codes), got {train_counts.shape}"
    )
  if prompt_frames < 0:
    raise ValueError(f"prompt_frames must be at least 0, got {prompt_frames}")
  params = jax.tree.map(jnp.asarray, params)
  smoothed = train_counts + 1.0
  log_unigram = np.log(smoothed / smoothed.sum(-1, keepdims=True))
  # Sums of negative log-likelihood, of hits, and of tokens.
  sums = {name: np.zeros((config.levels, 3)) for name in _NAMES}
  for number, batch in enumerate(batches):
    key = jax.random.fold_in(jax.random.key(seed), number)
    drawn = masking.draw_mask(
      key,
      jnp.asarray(batch["valid"]),
      levels=config.levels,
      config=MaskingConfig(),
    )
    frames = np.arange(batch["valid"].shape[1])
    prompted = batch["valid"] & (frames >= prompt_frames)
    after = batch["valid"] & (frames >= np.asarray(drawn.delimiter)[:, None])
    for level in range(config.levels):
      for name, target, maskable in (
        ("masked", prompted, prompted),
        ("random", drawn.target, after),
      ):
        sums[name][level] += _score(
          params, batch, target, maskable, level, config=config
        )
      truth = batch["acoustic"][:, :, level][prompted]
      sums["unigram"][level] += (
        -log_unigram[level][truth].sum(),
        (truth == train_counts[level].argmax()).sum(),
        truth.size,
      )
  if not sums["masked"][:, 2].all():
    raise ValueError(
      f"no utterance is longer than the prompt of {prompt_frames} frames"
    )
  for level in range(config.levels):
    row = f"level_{level + 1:02d}"
    for column, quantity in (("top1", 1), ("nats", 0)):
      for name in _NAMES:
        value = sums[name][level, quantity] / sums[name][level, 2]
        yield Measure(f"{row}/{name}_{column}", float(value))
    yield Measure(f"{row}/tokens", float(sums["masked"][level, 2]))


@functools.partial(jax.jit, static_argnames="config")
def _score(
  params: Any,
  batch: Mapping[str, Array],
  target: Bool[Array, "B T"],
  maskable: Bool[Array, "B T"],
  level: Int[Array, ""],
  *,
  config: SoundStormConfig,
) -> Float[Array, "3"]:
  """Sums over a batch at one level: nats, hits, tokens.

  Args:
    params: of the model.
    batch: acoustic, semantic, valid.
    target: what is masked at the level, and judged.
    maskable: what is masked at finer levels.
    level: from 0; traced, so that all levels share one compilation.
    config: of the model.
  """
  levels = jnp.arange(config.levels)
  masked = (target[:, :, None] & (levels == level)) | (
    maskable[:, :, None] & (levels > level)
  )
  logits = SoundStorm(config).apply(
    {"params": params},
    jnp.where(masked, config.mask_id, batch["acoustic"]),
    batch["semantic"],
    batch["valid"],
    level=level,
  )
  truth = jnp.take(batch["acoustic"], level, axis=2)
  scores = masked_cross_entropy(logits, truth, target=target)
  return jnp.stack([scores.loss.sum(), scores.top1.sum(), scores.count.sum()])


def count_codes(
  utterances: Iterable[Int[np.ndarray, "_ Q"]], *, levels: int, codes: int
) -> Int[np.ndarray, "Q V"]:
  """How often each level has each code.

  Args:
    utterances: their acoustic tokens.
    levels: Q.
    codes: V.
  """
  counts = np.zeros((levels, codes), np.int64)
  for tokens in utterances:
    for level in range(levels):
      counts[level] += np.bincount(tokens[:, level], minlength=codes)
  return counts
