"""Learned semantic tokens: an utterance's own, from whatever batch."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from soundstorm_jax import weights as weights_lib
from soundstorm_jax.config import DataConfig, TrainConfig, to_mapping
from soundstorm_jax.data.tokenizer import Tokenizer
from soundstorm_jax.data.tokenizer_batches import encode_utterances
from soundstorm_jax.layers.config import ConformerConfig
from soundstorm_jax.parallel import rules
from soundstorm_jax.semantic import fit, kmeans, learned, network
from soundstorm_jax.semantic.config import KMeansConfig, SemanticEncoderConfig
from tests import make_audio
from tests.tiny_weights import write_weights

CONFIG = SemanticEncoderConfig(
  mels=20,
  conformer=ConformerConfig(
    dim=16, layers=2, heads=2, ff_dim=16, conv_kernel=3
  ),
)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
  """An untrained encoder, as `export` writes it."""
  model = network.SemanticEncoder(CONFIG, codes=4, phones=3)
  frame = jnp.zeros((1, 1, 80))
  params = model.init(jax.random.key(0), frame, None, method="logits")
  path = tmp_path_factory.mktemp("encoder") / "encoder.safetensors"
  weights_lib.save_weights(
    path,
    rules.unbox(params["params"]),
    config=to_mapping(CONFIG),
    kind="semantic_encoder",
  )
  return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  return make_audio.write_folder(
    tmp_path_factory.mktemp("audio"), {"1": [1.4, 0.9], "2": [0.7]}
  )


def settings(folder, encoder, **changes):
  return TrainConfig(
    task="kmeans",
    data=DataConfig(path=str(folder), held_out_speakers=("2",)),
    system=dataclasses.replace(
      KMeansConfig(clusters=12, encoder=str(encoder)), **changes
    ),
  )


@pytest.fixture(scope="module")
def fitted(folder, encoder, tmp_path_factory):
  return fit.fit(settings(folder, encoder), tmp_path_factory.mktemp("fit"))


@pytest.fixture(scope="module")
def tokenizer(fitted):
  return learned.load_semantic(fitted.path)


def test_fit_counts_and_measures(fitted):
  assert fitted.frames == 35 + 23
  assert 0 < fitted.distortion < 1
  assert fitted.held_out_distortion > 0


def test_it_is_a_tokenizer(fitted, tokenizer):
  assert isinstance(tokenizer, Tokenizer)
  assert isinstance(tokenizer, learned.LearnedTokenizer)
  assert (tokenizer.sample_rate, tokenizer.tokens_per_second) == (16000, 25)
  assert tokenizer.vocabulary == 12
  assert tokenizer.fingerprint == weights_lib.fingerprint(fitted.path)


def noise(samples, seed=0):
  audio = np.random.default_rng(seed).normal(size=samples) * 0.1
  return audio.astype(np.float32)


def test_tokens_do_not_depend_on_padding_or_batch(tokenizer):
  audio = noise(17000)
  alone = np.asarray(tokenizer.encode(audio[None], np.array([17000])))
  assert alone.shape == (1, 27)
  assert len(np.unique(alone)) > 3
  batch = 0.5 * noise(3 * 40000, seed=1).reshape(3, 40000)
  batch[1, :17000] = audio
  lengths = np.array([40000, 17000, 20], np.int32)
  together = np.asarray(tokenizer.encode(batch, lengths))
  np.testing.assert_array_equal(together[1, :27], alone[0])
  for size in (1, 3):
    utterances = [noise(9000, seed=2), audio, noise(33000, seed=3)]
    tokens = encode_utterances(tokenizer, utterances, batch_size=size)
    assert [t.size for t in tokens] == [15, 27, 52]
    np.testing.assert_array_equal(tokens[1], alone[0])


def test_tokens_do_not_depend_on_level(tokenizer):
  audio = noise(17000)
  loud, soft = (
    np.asarray(tokenizer.encode(gain * audio[None], np.array([17000])))
    for gain in (1.0, 0.3)
  )
  assert (loud == soft).mean() > 0.8  # The floor of the logarithm remains.


def test_features_are_those_of_the_layer_asked_for(folder, encoder, tmp_path):
  path = fit.fit(settings(folder, encoder, layer=1), tmp_path).path
  weights = weights_lib.load_weights(path)
  assert weights.config["conformer"]["layers"] == 1
  blocks = weights.params["params"]["conformer"]["layers"]
  assert {len(x) for x in jax.tree.leaves(blocks)} == {1}
  assert "code_head" not in weights.params["params"]


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"layer": 3}, r"layer must be at most 2, got 3"),
    ({"tokens_per_second": 50}, r"has tokens_per_second 25"),
    ({"clusters": 59}, r"at most the 58 feature vectors"),
  ],
)
def test_fit_refuses(folder, encoder, tmp_path, changes, message):
  with pytest.raises(ValueError, match=message):
    fit.fit(settings(folder, encoder, **changes), tmp_path)


def test_fit_refuses_what_is_no_encoder(folder, fitted, tmp_path):
  with pytest.raises(ValueError, match="must hold semantic_encoder"):
    fit.fit(settings(folder, fitted.path), tmp_path)


def test_either_kind_is_loaded(tmp_path):
  folder = write_weights(tmp_path)
  path = folder / "semantic.safetensors"
  assert isinstance(learned.load_semantic(path), kmeans.KMeansTokenizer)
  with pytest.raises(ValueError, match="must hold semantic_learned"):
    learned.LearnedTokenizer.load(path)
  with pytest.raises(ValueError, match="must hold semantic"):
    learned.load_semantic(folder / "soundstorm.safetensors")


def test_centres_of_another_width_are_refused():
  with pytest.raises(ValueError, match=r"\(3, 3, 3\), the encoder 16"):
    learned.LearnedTokenizer(
      CONFIG,
      params={},
      centres=np.zeros((5, 3)),
      mean=np.zeros(3),
      std=np.ones(3),
      fingerprint="",
    )
