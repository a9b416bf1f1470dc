"""From audio with phones to judged semantic tokens, by the programs.

The encoder is one over Whisper's, so that all files have to carry that along.
"""

import dataclasses
import json

import jax
import numpy as np
import pytest

from soundstorm_jax import evaluate, export, train
from soundstorm_jax.config import DataConfig, TrainConfig
from soundstorm_jax.data import phones
from soundstorm_jax.layers.config import ConformerConfig
from soundstorm_jax.semantic import fit, import_whisper
from soundstorm_jax.semantic.config import (
  KMeansConfig,
  SemanticEncoderConfig,
  SemanticTrainingConfig,
  WhisperConfig,
)
from soundstorm_jax.weights import load_weights
from tests.make_audio import write_folder
from tests.semantic.test_whisper_file import tiny_arrays, write_model


@pytest.fixture(scope="module")
def made(tmp_path_factory):
  """Audio of three speakers, its phones, a trained encoder and its tokens."""
  folder = tmp_path_factory.mktemp("semantic")
  lengths = {"1": [1.0, 0.6], "2": [0.9], "3": [0.7]}
  audio = write_folder(folder / "audio", lengths)
  names = ["1-1-0000", "1-1-0001", "2-1-0000", "3-1-0000"]
  labels = np.repeat([0, 7, 30, 12], 15)
  phones.write_phones(folder / "phones.csv", [(n, labels) for n in names])
  whisper = folder / "whisper.safetensors"
  write_model(folder, tiny_arrays(mels=12))
  import_whisper.import_whisper(str(folder), str(whisper))
  data = DataConfig(
    path=str(audio),
    held_out_speakers=("2", "3"),
    window_seconds=0.8,
    eval_batches=1,
    workers=1,
  )
  config = TrainConfig(
    task="semantic_encoder",
    steps=2,
    batch_size=2,
    eval_every=2,
    save_every=2,
    data=data,
    system=SemanticTrainingConfig(
      model=SemanticEncoderConfig(
        mels=12,
        whisper=WhisperConfig(layers=2, dim=6, heads=2),
        conformer=ConformerConfig(
          dim=8, layers=2, heads=2, ff_dim=8, conv_kernel=3
        ),
      ),
      phones=str(folder / "phones.csv"),
      whisper=str(whisper),
      codes=4,
      code_dim=2,
      frame_weight=1.0,
      ctc_weight=1.0,
      tempo=1.1,
    ),
  )
  result = train.train(config, folder / "run")
  assert result.step == 2
  assert {"phone_loss", "phone_top1"} <= set(result.eval_metrics)
  export.export(folder / "run", folder / "encoder.safetensors")
  fit.fit(
    TrainConfig(
      task="kmeans",
      data=data,
      system=KMeansConfig(
        clusters=6, encoder=str(folder / "encoder.safetensors"), layer=1
      ),
    ),
    folder,
  )
  encoder = config.system.model
  together = dataclasses.replace(
    config,
    task="semantic_tokens",
    system=dataclasses.replace(
      config.system,
      start=str(folder / "semantic.safetensors"),
      model=dataclasses.replace(
        encoder, conformer=dataclasses.replace(encoder.conformer, layers=1)
      ),
    ),
  )
  result = train.train(together, folder / "together")
  assert {"mel_loss", "phone_top1"} <= set(result.eval_metrics)
  export.export(folder / "together", folder / "together.safetensors")
  return folder


def test_the_file_says_what_it_holds(made):
  assert load_weights(made / "encoder.safetensors").kind == "semantic_encoder"
  for name in ("semantic", "together"):
    weights = load_weights(made / f"{name}.safetensors")
    assert weights.kind == "semantic_learned"
    assert weights.params["centres"].shape == (6, 8)


def test_whisper_is_carried_along_unchanged(made):
  whisper = load_weights(made / "whisper.safetensors").params
  for name in ("encoder", "semantic", "together"):
    carried = load_weights(made / f"{name}.safetensors").params["whisper"]
    jax.tree.map(np.testing.assert_array_equal, carried, whisper)


def test_centres_move_when_trained_with_the_encoder(made):
  before, after = (
    load_weights(made / f"{name}.safetensors").params
    for name in ("semantic", "together")
  )
  assert not np.allclose(before["centres"], after["centres"], atol=1e-4)
  # What normalised the features is within the encoder now.
  assert not after["mean"].any()
  assert (after["std"] == 1).all()


def test_evaluate_judges_the_held_out_speakers(made, capsys):
  evaluate.main(
    [
      "--what=semantic",
      f"--semantic={made / 'semantic.safetensors'}",
      f"--phones={made / 'phones.csv'}",
      f"--audio={made / 'audio'}",
      "--speakers=2,3",
      f"--output={made / 'figures.json'}",
    ]
  )
  assert "pnmi" in capsys.readouterr().out
  figures = json.loads((made / "figures.json").read_text())
  # Phones end after 0.6 s of each, at 25 tokens a second.
  assert figures["measures"]["semantic/tokens"] == 30
  assert 0 <= figures["measures"]["semantic/pnmi"] <= 1
  assert set(figures["weights"]) == {"semantic"}


def test_evaluate_says_what_it_needs(capsys):
  with pytest.raises(SystemExit):
    evaluate.main(["--what=semantic", "--semantic=x"])
  assert "needs --audio and --phones" in capsys.readouterr().err
