"""MFCC features, k-means over them, and batching that changes nothing."""

import dataclasses
import functools
from fractions import Fraction

import jax.numpy as jnp
import numpy as np
import pytest
import scipy.fft
from sklearn import cluster

from soundstorm_jax.config import DataConfig, TrainConfig
from soundstorm_jax.data import audio_files, tokenizer_batches
from soundstorm_jax.data.tokenizer import Tokenizer, token_count
from soundstorm_jax.layers import features
from soundstorm_jax.semantic import fit, kmeans, mfcc
from soundstorm_jax.semantic.config import KMeansConfig
from tests import make_audio

RATE = 16000
CONFIG = KMeansConfig(clusters=12, iterations=20)


def noise(samples, seed=0):
  audio = np.random.default_rng(seed).normal(size=samples) * 0.1
  return audio.astype(np.float32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  return make_audio.write_folder(
    tmp_path_factory.mktemp("audio"), {"1": [1.4, 0.9], "2": [0.7]}
  )


@pytest.fixture(scope="module")
def fitted(folder, tmp_path_factory):
  config = TrainConfig(
    task="kmeans",
    data=DataConfig(
      path=str(folder), held_out_speakers=("2",), window_seconds=1.0
    ),
    system=CONFIG,
  )
  return fit.fit(config, tmp_path_factory.mktemp("fit"))


@pytest.fixture(scope="module")
def tokenizer(fitted):
  return kmeans.KMeansTokenizer.load(fitted.path)


def slow_mfcc(audio):
  """One frame at a time, in float64, over a silent surrounding."""
  hop, window = 160, 480
  tokens = -(-len(audio) // 640)
  silence = np.zeros(5 * hop)
  padding = np.zeros(tokens * 640 - len(audio))
  audio = np.concatenate([silence, audio, padding, silence])
  filters = features.mel_filterbank(
    window=window, mels=mfcc.MELS, sample_rate=RATE
  ).astype(np.float64)
  hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window) / window)
  cepstra = []
  for frame in range(-4, 4 * tokens + 4):
    start = (frame + 4) * hop
    spectrum = np.fft.rfft(audio[start : start + window] * hann) * 2 / window
    mel = np.sqrt(np.abs(spectrum) ** 2 + 1e-12) @ filters
    cepstra.append(scipy.fft.dct(np.log(mel + 1e-5), norm="ortho")[:13])
  weights = np.array([-2, -1, 0, 1, 2]) / 10
  count = 4 * tokens
  cepstra = np.array(cepstra)

  def slope(values):
    return np.array(
      [weights @ values[i : i + 5] for i in range(len(values) - 4)]
    )

  first, second = slope(cepstra), slope(slope(cepstra))
  fine = np.concatenate(
    [cepstra[4 : 4 + count], first[2 : 2 + count], second], axis=1
  )
  return fine.reshape(tokens, 4, -1).mean(axis=1)


def test_mfcc_against_a_slow_reference():
  audio = noise(3000)
  found = mfcc.mfcc(jnp.asarray(audio)[None], jnp.array([3000]), config=CONFIG)
  assert found.shape == (1, 5, mfcc.feature_count(CONFIG))
  np.testing.assert_allclose(found[0], slow_mfcc(audio), atol=2e-3)


def test_mfcc_ignores_what_follows():
  audio = noise(6400)
  short = mfcc.mfcc(
    jnp.asarray(audio[:3000])[None], jnp.array([3000]), config=CONFIG
  )
  long = mfcc.mfcc(jnp.asarray(audio)[None], jnp.array([3000]), config=CONFIG)
  np.testing.assert_allclose(long[:, :5], short, atol=1e-4)


@pytest.mark.parametrize(
  ("change", "message"),
  [
    ({"sample_rate": 16050}, "got 16050 and 25"),
    ({"coefficients": 41}, "at most 40, got 41"),
  ],
)
def test_mfcc_refuses(change, message):
  config = dataclasses.replace(CONFIG, **change)
  with pytest.raises(ValueError, match=message):
    mfcc.mfcc(jnp.zeros((1, 640)), jnp.array([640]), config=config)


def test_fit_counts_and_measures(fitted):
  # 1.4 s and 0.9 s in windows of 1 s: 2 and 1 of them.
  assert fitted.frames == 25 + 25 + 23
  assert 0 < fitted.distortion < 1
  assert fitted.held_out_distortion > fitted.distortion


def test_fit_refuses_too_many_centres(folder, tmp_path):
  config = TrainConfig(
    task="kmeans",
    data=DataConfig(path=str(folder), window_seconds=1.0),
    system=KMeansConfig(clusters=1024),
  )
  with pytest.raises(ValueError, match=r"feature vectors of .*, got 1024"):
    fit.fit(config, tmp_path)


def test_ids_are_the_nearest_centres(fitted, tokenizer):
  assert isinstance(tokenizer, Tokenizer)
  weights = kmeans.weights_lib.load_weights(fitted.path).params
  audio = noise(16000, seed=4)
  ids = np.asarray(tokenizer.encode(audio[None], np.array([16000])))
  vectors = (slow_mfcc(audio) - weights["mean"]) / weights["std"]
  model = cluster.KMeans(12, n_init=1).fit(weights["centres"])
  model.cluster_centers_ = weights["centres"].astype(np.float64)
  assert ids.shape == (1, 25)
  np.testing.assert_array_equal(ids[0], model.predict(vectors))
  assert len(np.unique(ids)) > 3


def test_load_refuses_other_weights(tmp_path):
  path = tmp_path / "x.safetensors"
  kmeans.weights_lib.save_weights(
    path, {"a": np.zeros(2)}, config={}, kind="soundstorm"
  )
  with pytest.raises(ValueError, match="must hold semantic"):
    kmeans.KMeansTokenizer.load(path)


@pytest.mark.parametrize("samples", [1, 639, 640, 641, 16000, 16001])
def test_token_count_covers_the_codec(samples, tokenizer):
  assert token_count(tokenizer, samples) == -(-samples // 640)
  frames = -(-samples // 320)
  assert frames <= 2 * token_count(tokenizer, samples) <= frames + 1


def test_buckets_are_few_and_tight():
  sizes = sorted(
    {tokenizer_batches.length_bucket(n, unit=1) for n in range(1, 100)}
  )
  assert sizes == [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128]
  for samples in range(1, 4000):
    bucket = tokenizer_batches.length_bucket(samples, unit=10)
    assert samples <= bucket
    assert bucket < 2 * samples or bucket == 10
  with pytest.raises(ValueError, match="got 0"):
    tokenizer_batches.length_bucket(0, unit=10)


def test_tokens_do_not_depend_on_company(tokenizer):
  audio = [noise(n, seed=n) for n in (16000, 900, 15000, 31000, 20000)]
  encode = functools.partial(
    tokenizer_batches.encode_utterances, tokenizer, batch_size=2
  )
  together = encode(audio)
  assert [len(ids) for ids in together] == [25, 2, 24, 49, 32]
  for alone, ids in zip(
    [encode([a])[0] for a in reversed(audio)], reversed(together), strict=True
  ):
    np.testing.assert_array_equal(alone, ids)


class _Loudness:
  """A tokenizer of one id every two thirds of a second, as a network may be."""

  sample_rate = 3000
  tokens_per_second = Fraction(3, 2)
  vocabulary = 2
  fingerprint = "none"

  def encode(self, audio, lengths):
    blocks = audio.reshape(len(audio), -1, 2000)
    return (np.abs(blocks).max(axis=-1) > 0.5).astype(np.int32)


def test_another_kind_of_tokenizer_fits():
  loud = np.concatenate([np.zeros(2000), np.ones(500)]).astype(np.float32)
  # Buckets of 1, 2, 3, ... seconds: rows of 6000 samples hold whole tokens.
  (ids,) = tokenizer_batches.encode_utterances(
    _Loudness(), [np.pad(loud, (2000, 0))], batch_size=3
  )
  np.testing.assert_array_equal(ids, [0, 0, 1])


def test_features_follow_the_audio(folder, tokenizer):
  (file, *_) = audio_files.find_audio(folder)
  audio = audio_files.read_audio(file.path, RATE)
  ids = tokenizer_batches.encode_utterances(tokenizer, [audio], batch_size=2)[0]
  assert len(ids) == 35
  assert ids.min() >= 0
  assert ids.max() < 12
