"""The SoundStream codec.

  python -m soundstorm_jax.train --config=configs/soundstream.py:paper \\
    --workdir=runs/codec --config.data.path=LibriSpeech/train-clean-360
  python -m soundstorm_jax.export --workdir=runs/codec \\
    --output=soundstream.safetensors

Arguments: `paper` (16 kHz, 32 channels, adversarial from the start, for an
accelerator), `24khz` (the dialogue codec's rate, stride 480) and `tiny` (for
trying out). Audio is read from a folder, in LibriSpeech's layout or
SPEAKER/FILE.
"""

import dataclasses

from ml_collections import ConfigDict

from soundstorm_jax.config import (
  CodecTrainingConfig,
  DataConfig,
  OptimizerConfig,
  SoundStreamConfig,
  TrainConfig,
  to_mapping,
)

PAPER = TrainConfig(
  task="soundstream",
  steps=500_000,
  batch_size=128,
  eval_every=5000,
  save_every=2000,
  sample_every=20_000,
  data=DataConfig(window_seconds=2.0, workers=8),
  optimizer=OptimizerConfig(
    lr=3e-4, b1=0.8, b2=0.99, weight_decay=0.0, clip_norm=10.0
  ),
  soundstream=SoundStreamConfig(
    encoder_channels=32, decoder_channels=32, dim=128
  ),
)

# Two CPU cores, a minute: it shows that it works, and sounds of nothing.
TINY = TrainConfig(
  task="soundstream",
  steps=20,
  batch_size=8,
  log_every=5,
  data=DataConfig(window_seconds=1.0, eval_batches=4, workers=1, cache=True),
  optimizer=OptimizerConfig(lr=1e-3, warmup_steps=5, weight_decay=0.0),
  soundstream=SoundStreamConfig(
    encoder_channels=2, decoder_channels=2, dim=8, levels=4, codes=16
  ),
  # The discriminators cost most of a step, and need far more of them.
  codec_training=CodecTrainingConfig(
    adversarial_start=1_000_000, discriminator_channels=2
  ),
)


def get_config(arg: str = "paper") -> ConfigDict:
  """Every field of `TrainConfig`, so that each can be set by a flag."""
  if arg == "paper":
    config = PAPER
  elif arg == "24khz":
    codec = dataclasses.replace(
      PAPER.soundstream, sample_rate=24_000, strides=(2, 5, 6, 8)
    )
    config = dataclasses.replace(PAPER, soundstream=codec)
  elif arg == "tiny":
    config = TINY
  else:
    raise ValueError(f"arg must be paper, 24khz or tiny, got {arg!r}")
  return ConfigDict(to_mapping(config))
