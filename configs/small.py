"""The small SoundStorm: two CPU cores, an hour and ten minutes.

  python -m soundstorm_jax.tokenize --audio=speech \\
    --codec=soundstream.safetensors --semantic=semantic.safetensors \\
    --held_out_speakers=1272,2035,2412,422 --speeds=0.9,1,1.1 \\
    --join_seconds=24 --output=tokens/small
  python -m soundstorm_jax.train --config=configs/small.py \\
    --workdir=runs/small --config.data.path=tokens/small \\
    --config.codec_weights=soundstream.safetensors
  python -m soundstorm_jax.export --workdir=runs/small \\
    --output=soundstorm.safetensors

`speech` is LibriSpeech dev-clean and, beside its speakers' folders, Kokoro's of
`soundstorm_jax.synthesize`. Each recording is there at three speeds, which are
three voices; what was cut from one chapter is joined again, so that windows are
full.

Embeddings and heads start from the codec's codebooks and from counts over 300
batches (`training/soundstorm_start.py`). A tenth of the examples has no
semantic tokens, so that guidance can be used.

As it was first run, on tokens of configs/semantic_encoder.py:log_mel: 61 steps
under a schedule of 3000 steps, those to 600 under one of 4200;
`masking.coarse_bias` was 1.5 up to step 1707, when the finest levels were found
to have learnt nothing (docs/what_should_i_see.md). More steps, to 4600, made
level 1 worse on the held-out speakers: speech is missing. A wider one (192, six
layers) did 1200 frames a second instead of 2900 and was stopped after a minute:
in the same time it would have seen too little.

The shipped weights went on from these (`start`) with dropout 0.1: 1600 steps on
tokens trained with that encoder, 2254 on those over Whisper, and 1400 more with
half of the examples at level 1 (coarse_bias 8). The flags are in
soundstorm_jax/shipped/small/README.md.
"""

from ml_collections import ConfigDict

from soundstorm_jax.config import (
  ConformerConfig,
  DataConfig,
  MaskingConfig,
  OptimizerConfig,
  SoundStormConfig,
  TrainConfig,
  to_mapping,
)


def get_config() -> ConfigDict:
  """Every field of `TrainConfig`, so that each can be set by a flag."""
  config = TrainConfig(
    task="soundstorm",
    steps=3200,
    batch_size=8,
    log_every=25,
    eval_every=200,
    save_every=100,
    codebook_start_batches=300,
    data=DataConfig(
      window_seconds=8.0,
      min_window_seconds=5.0,
      eval_batches=8,
      cache=True,
    ),
    optimizer=OptimizerConfig(
      lr=1.5e-3, warmup_steps=100, final_lr_ratio=0.02, ema_decay=0.995
    ),
    soundstorm=SoundStormConfig(
      semantic_vocab=1024,
      conformer=ConformerConfig(
        dim=128,
        layers=4,
        heads=4,
        ff_dim=512,
        # Unrolled: two cores have no use for the shorter compilation.
        scan_layers=False,
      ),
    ),
    # Half of what is asked of it later comes without a prompt; and the paper's
    # uniform levels need more steps than two cores take in half an hour.
    masking=MaskingConfig(
      no_prompt_prob=0.3, semantic_dropout=0.1, coarse_bias=0.5
    ),
  )
  return ConfigDict(to_mapping(config))
