"""Semantic tokens by k-means over normalised MFCC features (AudioLM III-B).

AudioLM clusters the features of a speech network, normalised per dimension;
here the features are cepstra and their differences (see mfcc.py), which need
no network. They carry the rough phonetic content, and some of the voice.

Axes: B batch, N samples, S tokens, C feature dimensions, V clusters.
"""

import functools
import pathlib
from collections.abc import Iterable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging
from jaxtyping import Array, Float, Int

from soundstorm_jax import weights as weights_lib
from soundstorm_jax.config import (
  KMeansConfig,
  TrainConfig,
  from_mapping,
  to_mapping,
)
from soundstorm_jax.tokenizers import mfcc


class KMeansTokenizer:
  """The nearest centre's number; ceil(N / samples per token) ids for N samples.

  Args:
    config: of the features.
    centres: in normalised feature space.
    mean: of the features that the centres were fitted to.
    std: likewise.
    fingerprint: of the weights.

  Raises:
    ValueError: the arrays' shapes are not the config's.
  """

  def __init__(
    self,
    config: KMeansConfig,
    *,
    centres: Float[np.ndarray, "V C"],
    mean: Float[np.ndarray, "C"],
    std: Float[np.ndarray, "C"],
    fingerprint: str,
  ):
    width = mfcc.feature_count(config)
    expected = ((config.clusters, width), (width,), (width,))
    shapes = (centres.shape, mean.shape, std.shape)
    if shapes != expected:
      raise ValueError(
        f"centres, mean and std have shapes {shapes}, the config says "
        f"{expected}"
      )
    self.config = config
    self.fingerprint = fingerprint
    self.sample_rate = config.sample_rate
    self.tokens_per_second = config.tokens_per_second
    self.vocabulary = config.clusters
    self._arrays = tuple(
      jnp.asarray(array, jnp.float32) for array in (centres, mean, std)
    )

  @classmethod
  def load(cls, path: str | pathlib.Path) -> "KMeansTokenizer":
    """Reads semantic.safetensors.

    Raises:
      ValueError: the file holds the weights of something else.
    """
    weights = weights_lib.load_weights(path)
    if weights.kind != "semantic":
      raise ValueError(f"{path} must hold semantic, got {weights.kind!r}")
    return cls(
      from_mapping(KMeansConfig, weights.config),
      fingerprint=weights_lib.fingerprint(path),
      **weights.params,
    )

  def encode(
    self,
    audio: Float[np.ndarray, "B N"],
    lengths: Int[np.ndarray, "B"],
  ) -> Int[Array, "B S"]:
    """See `Tokenizer`."""
    return _encode(
      jnp.asarray(audio, jnp.float32),
      jnp.asarray(lengths, jnp.int32),
      *self._arrays,
      config=self.config,
    )


@functools.partial(jax.jit, static_argnames="config")
def _encode(audio, lengths, centres, mean, std, *, config):
  vectors = (mfcc.mfcc(audio, lengths, config=config) - mean) / std
  # |x - c|^2 without the term that is the same for all centres.
  products = jnp.matmul(vectors, centres.T, precision="highest")
  distances = jnp.sum(jnp.square(centres), axis=-1) - 2 * products
  return jnp.argmin(distances, axis=-1).astype(jnp.int32)


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


def fit(config: TrainConfig, workdir: str | pathlib.Path) -> Fit:
  """Fits the centres to a folder of audio; writes semantic.safetensors.

  Args:
    config: `data` names the audio, its held-out speakers and the longest
      excerpt; `kmeans` the features and the number of centres.
    workdir: made if it is not there.

  Raises:
    ValueError: no or unreadable audio, or fewer vectors than centres.
  """
  # Only fitting needs scikit-learn and the input pipeline.
  from sklearn import cluster

  from soundstorm_jax.data.audio import AudioSource

  settings = config.kmeans
  source = AudioSource(
    config.data, settings.sample_rate, batch_size=1, seed=config.seed
  )
  logging.info("Features of %.1f minutes of audio", source.seconds / 60)
  vectors = _features(source.crops(), source.window, settings)
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
  path.parent.mkdir(parents=True, exist_ok=True)
  weights_lib.save_weights(
    path,
    {
      "centres": np.asarray(model.cluster_centers_, np.float32),
      "mean": mean,
      "std": std,
    },
    config=to_mapping(settings),
    kind="semantic",
    dtype="float32",
  )
  held_out = None
  if source.eval_files:
    unseen = _features(source.held_out_crops(), source.window, settings)
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


def _features(
  crops: Iterable[np.ndarray], window: int, config: KMeansConfig
) -> np.ndarray:
  """Feature vectors of excerpts, (vectors, C), up to `max_frames` of them."""
  compute = jax.jit(functools.partial(mfcc.mfcc, config=config))
  per_token = config.sample_rate // config.tokens_per_second
  found: list[np.ndarray] = []
  total = 0
  for crop in crops:
    audio = np.zeros((1, window), np.float32)
    audio[0, : crop.size] = crop
    tokens = -(-crop.size // per_token)
    lengths = np.array([crop.size], np.int32)
    found.append(np.asarray(compute(audio, lengths))[0, :tokens])
    total += tokens
    if total >= config.max_frames:
      break
  return np.concatenate(found)[: config.max_frames]
