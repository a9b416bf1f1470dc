"""The small SoundStorm, of 11.7M parameters: an accelerator, six minutes.

  python -m soundstorm_jax.tokenize --audio=speech \\
    --codec=soundstream.safetensors --semantic=semantic.safetensors \\
    --held_out_speakers=1272,2035,2412,422 --speeds=0.9,1,1.1 \\
    --join_seconds=24 --output=tokens/speech
  python -m soundstorm_jax.train --config=configs/small.py \\
    --workdir=runs/small --config.data.path=tokens/speech,tokens/synthetic \\
    --config.codec_weights=soundstream.safetensors
  python -m soundstorm_jax.export --workdir=runs/small --dtype=int8 \\
    --output=soundstorm.safetensors

`speech` is LibriSpeech dev-clean, each recording at three speeds, which are
three voices; what was cut from one chapter is joined again, so that windows are
full. `tokens/synthetic` is sixteen hours of Hibari in 600 voices and one of
Kokoro (`soundstorm_jax.synthesize`).

Embeddings and heads start from the codec's codebooks and from counts over 60
batches (`training/soundstorm_start.py`). A tenth of the examples has no
semantic tokens and three tenths have no prompt, so that guidance can be used.
Half of the examples have a level masked whole, which is what the sampler of the
shipped weights asks of it, and most are heard in voices that no recording has
(`training/voices.py`).

The shipped weights are of one such run: 12130 steps in 330 seconds on one H200,
in bfloat16 (`--config.soundstorm.conformer.dtype=bfloat16`), 470,000 frames a
second; soundstorm_jax/shipped/small/README.md says what else was different,
docs/what_should_i_see.md has its curves. Two CPU cores do some thousands of
frames a second: for them take
`--config.soundstorm.conformer.dim=128 --config.soundstorm.conformer.layers=4
--config.soundstorm.conformer.ff_dim=512 --config.batch_size=8` and hours.
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
    steps=12_000,
    batch_size=32,
    log_every=100,
    eval_every=1000,
    save_every=1000,
    codebook_start_batches=60,
    voice_change_prob=0.9,
    data=DataConfig(
      window_seconds=12.0,
      min_window_seconds=4.0,
      eval_batches=8,
      cache=True,
    ),
    optimizer=OptimizerConfig(
      lr=1.5e-3,
      warmup_steps=200,
      final_lr_ratio=0.02,
      weight_decay=0.02,
      ema_decay=0.999,
    ),
    soundstorm=SoundStormConfig(
      semantic_vocab=1024,
      conformer=ConformerConfig(
        dim=192,
        layers=7,
        heads=4,
        ff_dim=768,
        dropout=0.1,
        # Unrolled: two cores have no use for the shorter compilation.
        scan_layers=False,
      ),
    ),
    # Half of what is asked of it later comes without a prompt; and the coarse
    # levels carry the words.
    masking=MaskingConfig(
      no_prompt_prob=0.3,
      semantic_dropout=0.1,
      coarse_bias=4.0,
      full_mask_prob=0.5,
    ),
  )
  return ConfigDict(to_mapping(config))
