"""Fits the centres of semantic tokens to a folder of audio.

k-means over features normalised per dimension (AudioLM, arXiv 2209.03143,
section III-B): those of an encoder's layer (learned.py) or, without one, MFCC
(mfcc.py).

Axes: B batch, N samples, S tokens, C feature dimensions, V clusters.
"""

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import jax
import numpy as np
from absl import logging
from jaxtyping import Array, Float, Int

from soundstorm_jax import weights as weights_lib
from soundstorm_jax.config import TrainConfig, from_mapping, to_mapping
from soundstorm_jax.data.audio_folder import AudioFolder
from soundstorm_jax.data.tokenizer_batches import collect_frames
from soundstorm_jax.semantic import learned, mfcc, network
from soundstorm_jax.semantic.config import KMeansConfig, SemanticEncoderConfig
from soundstorm_jax.training.system import Fitted


class Fit(NamedTuple):
  """A fitted tokenizer.

  Attributes:
    path: the weights.
    frames: feature vectors that it was fitted to.
    distortion: mean squared distance to the nearest centre over a dimension of
      variance 1: 1 would be one centre, 0 as many centres as vectors.
    held_out_distortion: of the held-out speakers; None if there are none.
  """

  path: pathlib.Path
  frames: int
  distortion: float
  held_out_distortion: float | None


class _Features(NamedTuple):
  """What is clustered.

  Attributes:
    compute: (audio, lengths) -> features.
    kind: of the weights.
    config: likewise, as plain values.
    params: what to save beside the centres.
    dtype: to save in.
  """

  compute: Callable[
    [Float[np.ndarray, "B N"], Int[np.ndarray, "B"]], Float[Array, "B S C"]
  ]
  kind: str
  config: dict[str, Any]
  params: dict[str, Any]
  dtype: str


def fit(config: TrainConfig, workdir: str | pathlib.Path) -> Fit:
  """Fits the centres to a folder of audio; writes semantic.safetensors.

  Args:
    config: `data` names the audio, its held-out speakers and the longest
      excerpt; `system` the features and the number of centres.
    workdir: made if it is not there.

  Raises:
    FileNotFoundError: there is no such encoder.
    ValueError: no or unreadable audio, fewer vectors than centres, or an
      encoder that is none, of other rates, or without such a layer.
  """
  # Slow to import, and `train` imports this module for every system.
  from sklearn import cluster

  settings = config.system
  features = _learned(settings) if settings.encoder else _mfcc(settings)
  source = AudioFolder(
    config.data, settings.sample_rate, batch_size=1, seed=config.seed
  )
  logging.info("Features of %.1f minutes of audio", source.seconds / 60)
  vectors = _collect(features.compute, source.crops(), settings)
  if len(vectors) < settings.clusters:
    raise ValueError(
      f"clusters must be at most the {len(vectors)} feature vectors of "
      f"{config.data.path}, got {settings.clusters}"
    )
  mean = vectors.mean(axis=0)
  # A dimension that never varies stays at 0 instead of dividing by it.
  std = np.maximum(vectors.std(axis=0), 1e-6)
  logging.info("%d centres for %d vectors", settings.clusters, len(vectors))
  model = cluster.KMeans(
    settings.clusters,
    n_init=1,
    max_iter=settings.iterations,
    random_state=config.seed,
  ).fit((vectors - mean) / std)
  path = pathlib.Path(workdir) / "semantic.safetensors"
  centres = np.asarray(model.cluster_centers_, np.float32)
  weights_lib.save_weights(
    path,
    features.params | {"centres": centres, "mean": mean, "std": std},
    config=features.config,
    kind=features.kind,
    dtype=features.dtype,
  )
  held_out = None
  if source.eval_files:
    unseen = _collect(features.compute, source.held_out_crops(), settings)
    distances = model.transform((unseen - mean) / std).min(axis=1)
    held_out = float(np.square(distances).mean()) / mean.size
  result = Fit(
    path=path,
    frames=len(vectors),
    distortion=float(model.inertia_) / vectors.size,
    held_out_distortion=held_out,
  )
  logging.info("%s", result)
  return result


def _mfcc(settings: KMeansConfig) -> _Features:
  compute = jax.jit(functools.partial(mfcc.mfcc, config=settings))
  return _Features(compute, "semantic", to_mapping(settings), {}, "float32")


def _learned(settings: KMeansConfig) -> _Features:
  weights = weights_lib.load_weights(settings.encoder, kind="semantic_encoder")
  config = from_mapping(SemanticEncoderConfig, weights.config)
  for name in ("sample_rate", "tokens_per_second"):
    has, wants = getattr(config, name), getattr(settings, name)
    if has != wants:
      raise ValueError(
        f"{settings.encoder} has {name} {has}, the config {wants}"
      )
  layers = settings.layer or config.conformer.layers
  if layers > config.conformer.layers:
    raise ValueError(
      f"layer must be at most {config.conformer.layers}, got {layers}"
    )
  config = dataclasses.replace(
    config, conformer=dataclasses.replace(config.conformer, layers=layers)
  )
  params = {"params": network.up_to_layer(weights.params, layers)}
  if "whisper" in weights.params:
    params["whisper"] = weights.params["whisper"]
  return _Features(
    functools.partial(learned.features, **params, config=config),
    learned.KIND,
    to_mapping(config),
    params,
    "float16",
  )


def _collect(
  compute: Callable, crops: Iterable[np.ndarray], config: KMeansConfig
) -> np.ndarray:
  """Feature vectors of excerpts, (vectors, C), up to `max_frames` of them."""
  return collect_frames(
    compute,
    crops,
    sample_rate=config.sample_rate,
    hop=config.sample_rate // config.tokens_per_second,
    max_frames=config.max_frames,
  )


SYSTEM = Fitted(KMeansConfig, fit)
