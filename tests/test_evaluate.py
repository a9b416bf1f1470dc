"""The program: what it chooses, refuses, prints and writes."""

import json
from fractions import Fraction

import numpy as np
import pytest

from soundstorm_jax import evaluate
from soundstorm_jax.data.token_dataset import write_dataset
from soundstorm_jax.data.token_example import TokenExample, TokenMetadata
from soundstorm_jax.evaluation import codec as codec_lib
from soundstorm_jax.evaluation.tokens import judge_tokens
from soundstorm_jax.weights import fingerprint
from tests.make_audio import write_folder
from tests.tiny_weights import CODEC, MODEL, SEMANTIC, Q, V, write_weights


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
  return write_weights(tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="module")
def audio(tmp_path_factory):
  lengths = {"10": [0.3] * 7, "20": [0.3] * 2, "30": [0.3]}
  return write_folder(tmp_path_factory.mktemp("audio"), lengths)


def write_tokens(folder, weights, **changes):
  """20 frames an utterance; the training split knows code 5 alone."""
  rng = np.random.default_rng(0)

  def examples(split, count):
    for number in range(count):
      acoustic = np.full((20, Q), 5, np.int32)
      if split == "test":
        acoustic[: 10 + number] = rng.integers(0, V, (10 + number, Q))
      semantic = rng.integers(0, SEMANTIC, 10, dtype=np.int32)
      yield TokenExample(f"{split}-{number}", "s", "", semantic, acoustic)

  fields = {
    "sample_rate": 16000,
    "frame_rate": Fraction(50),
    "semantic_rate": Fraction(25),
    "levels": Q,
    "codes": V,
    "semantic_vocab": SEMANTIC,
    "codec_fingerprint": fingerprint(weights / "soundstream.safetensors"),
    "semantic_fingerprint": fingerprint(weights / "semantic.safetensors"),
  } | changes
  write_dataset(
    folder,
    metadata=TokenMetadata(**fields),
    examples={
      "train": lambda: examples("train", 3),
      "test": lambda: examples("test", 3),
    },
  )
  return folder


@pytest.fixture(scope="module")
def tokens(tmp_path_factory, weights):
  return write_tokens(tmp_path_factory.mktemp("tokens"), weights)


def test_judges_a_codec(weights, audio, tmp_path, monkeypatch, capsys):
  def difference(reference, result, rate):
    assert rate == CODEC.sample_rate
    assert reference.shape == result.shape == (4800,)
    return float(np.abs(reference - result).mean())

  monkeypatch.setattr(
    codec_lib, "speech_metrics", lambda: {"difference": difference}
  )
  output = tmp_path / "new" / "codec.json"
  codec = weights / "soundstream.safetensors"
  status = evaluate.main(
    [
      "--what=codec",
      f"--codec={codec}",
      f"--audio={audio}",
      "--speakers=10",
      "--max_utterances_per_speaker=2",
      f"--output={output}",
    ]
  )
  assert status == 0
  result = json.loads(output.read_text("utf-8"))
  assert result["weights"] == {"soundstream": fingerprint(codec)}
  assert result["settings"]["speakers"] == ["10"]
  measures = result["measures"]
  # Of 1, 2, 4, 8 and 12 levels, what a codec of four has.
  rows = ["levels_01", "levels_02", "levels_04"]
  assert sorted({name.split("/")[0] for name in measures}) == rows
  assert measures["levels_01/recordings"] == 2
  assert len({measures[f"{row}/difference"] for row in rows}) == 3
  head, *lines = capsys.readouterr().out.splitlines()
  assert head.split()[0] == "difference"
  assert [line.split()[0] for line in lines] == rows


def test_judges_tokens(weights, tokens, tmp_path, capsys):
  output = tmp_path / "tokens.json"
  status = evaluate.main(
    [
      "--what=tokens",
      f"--weights={weights}",
      f"--tokens={tokens}",
      "--prompt_seconds=0.2",
      "--window_seconds=0.4",
      "--batch_size=2",
      f"--output={output}",
    ]
  )
  assert status == 0
  result = json.loads(output.read_text("utf-8"))
  assert set(result["weights"]) == {"soundstorm", "soundstream", "semantic"}
  measures = result["measures"]
  for level in range(1, MODEL.levels + 1):
    row = f"level_{level:02d}"
    # Three utterances of at least 20 frames, ten of them the prompt.
    assert measures[f"{row}/tokens"] == 30
    for kind in ("masked", "random"):
      # Random weights know nothing.
      assert measures[f"{row}/{kind}_nats"] > 0.9 * np.log(V)
    # After 10, 11 and 12 frames there is only what training has, code 5.
    assert measures[f"{row}/unigram_top1"] >= 27 / 30
  assert capsys.readouterr().out.splitlines()[1].startswith("level_01")


def test_takes_whole_batches(weights, tokens):
  measures, _ = judge_tokens(
    weights,
    tokens,
    prompt_seconds=0.2,
    window_seconds=0.4,
    batch_size=2,
    max_utterances=1,
  )
  assert dict(measures)["level_01/tokens"] == 20


def test_refuses_tokens_of_other_weights(weights, tmp_path):
  folder = write_tokens(tmp_path, weights, codec_fingerprint="other")
  with pytest.raises(ValueError, match=r"not made by .* but by other"):
    judge_tokens(weights, folder)


def test_asks_for_what_a_judge_needs(capsys):
  for what, flag in (("codec", "--audio"), ("tokens", "--weights")):
    with pytest.raises(SystemExit):
      evaluate.main([f"--what={what}"])
    assert flag in capsys.readouterr().err
  with pytest.raises(SystemExit):
    evaluate.main(["--what=nothing"])
  with pytest.raises(SystemExit):
    evaluate.main(["--what=codec", "--levels=1,b"])
  assert "--levels: '1,b' must be values parted by" in capsys.readouterr().err
