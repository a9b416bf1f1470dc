"""The SoundStream codec.

  python -m soundstorm_jax.train --config=configs/soundstream.py:paper \\
    --workdir=runs/codec --config.data.path=LibriSpeech/train-clean-360
  python -m soundstorm_jax.export --workdir=runs/codec \\
    --output=soundstream.safetensors

Arguments: `paper` (16 kHz, 32 channels, adversarial from the start, for an
accelerator), `24khz` (the dialogue codec's rate, stride 480), `light` (the
shipped weights: 1.3M parameters, taught by another codec) and `tiny` (to try
out). Audio is read from a folder, in LibriSpeech's layout or SPEAKER/FILE.

`light` needs a teacher, for one Google's SoundStream in Lyra V2:

  python -m soundstorm_jax.soundstream.import_lyra --model=lyra/model_coeffs \\
    --refit=LibriSpeech/dev-clean --output=teacher.safetensors
  python -m soundstorm_jax.train --config=configs/soundstream.py:light \\
    --workdir=runs/codec --config.data.path=LibriSpeech/dev-clean \\
    --config.system.teacher=teacher.safetensors

What it learns is the teacher's latents and speech, never its weights. At first
the loss is of complex spectra alone, for which the phases must be right; then
the mel loss and the discriminators join, with weights and a rate that hold; of
more, docs/what_should_i_see.md tells.
"""

import dataclasses

from ml_collections import ConfigDict

from soundstorm_jax.config import (
  DataConfig,
  OptimizerConfig,
  TrainConfig,
  to_mapping,
)
from soundstorm_jax.soundstream.config import (
  LIGHT_CODEC,
  SoundStreamConfig,
  SoundStreamTrainingConfig,
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
  system=SoundStreamTrainingConfig(
    model=SoundStreamConfig(encoder_channels=32, decoder_channels=32, dim=128)
  ),
)

# What a few CPU hours allow.
LIGHT = TrainConfig(
  task="soundstream",
  steps=40_000,
  batch_size=6,
  log_every=100,
  eval_every=2000,
  save_every=1000,
  data=DataConfig(
    window_seconds=1.0,
    held_out_speakers=("1272", "2035", "2412", "422"),
    eval_batches=4,
    workers=1,
    cache=True,
  ),
  optimizer=OptimizerConfig(
    lr=4e-3,
    warmup_steps=50,
    final_lr_ratio=0.05,
    b1=0.9,
    b2=0.99,
    weight_decay=0.0,
    # Losses that sum six windows have gradients of some hundreds.
    clip_norm=1e4,
    ema_decay=0.998,
  ),
  system=SoundStreamTrainingConfig(
    model=LIGHT_CODEC,
    muon=True,
    spectrum_weight=100.0,
    mel_weight=0.5,
    mel_start=25_000,
    feature_weight=30.0,
    adversarial_start=25_000,
    teacher_speech=0.7,
    light_discriminators=True,
    discriminator_channels=96,
    discriminator_lr=2e-4,
    discriminator_decay=True,
    # The teacher's, with which tokens made by it stay valid.
    codebook_decay=1.0,
    dead_code_threshold=0.0,
    commitment_weight=0.0,
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
  system=SoundStreamTrainingConfig(
    model=SoundStreamConfig(
      encoder_channels=2, decoder_channels=2, dim=8, levels=4, codes=16
    ),
    # The discriminators cost most of a step, and need far more of them.
    adversarial_start=1_000_000,
    discriminator_channels=2,
  ),
  # The discriminators cost most of a step, and need far more of them.
)


def get_config(arg: str = "paper") -> ConfigDict:
  """Every field of `TrainConfig`, so that each can be set by a flag."""
  if arg == "paper":
    config = PAPER
  elif arg == "24khz":
    codec = dataclasses.replace(
      PAPER.system.model, sample_rate=24_000, strides=(2, 5, 6, 8)
    )
    config = dataclasses.replace(
      PAPER, system=dataclasses.replace(PAPER.system, model=codec)
    )
  elif arg == "light":
    config = LIGHT
  elif arg == "tiny":
    config = TINY
  else:
    raise ValueError(f"arg must be paper, 24khz, light or tiny, got {arg!r}")
  return ConfigDict(to_mapping(config))
