"""The small SoundStorm, of 26.9M parameters, for one accelerator.

  python -m soundstorm_jax.tokenize --audio=speech \\
    --codec=soundstream.safetensors --semantic=semantic.safetensors \\
    --held_out_speakers=1272,2035,2412,422 --speeds=0.9,1,1.1 \\
    --join_seconds=24 --output=tokens
  python -m soundstorm_jax.train --config=configs/small.py \\
    --workdir=runs/small --config.data.path=tokens \\
    --config.system.codec_weights=soundstream.safetensors \\
    --config.system.model.conformer.dtype=bfloat16
  python -m soundstorm_jax.export --workdir=runs/small --dtype=int8 \\
    --output=soundstorm.safetensors

`speech` is LibriSpeech dev-clean, each recording at three speeds, which are
three voices; what was cut from one chapter is joined again, so that windows are
full.

Embeddings and heads start from the codec's codebooks and from counts over 60
batches (`soundstorm/codebook_start.py`). A tenth of the examples has no
semantic tokens and a fifth has no prompt, so that guidance can be used.
"""

from ml_collections import ConfigDict

from soundstorm_jax.config import (
  DataConfig,
  OptimizerConfig,
  TrainConfig,
  to_mapping,
)
from soundstorm_jax.layers.config import ConformerConfig
from soundstorm_jax.soundstorm.config import (
  MaskingConfig,
  SoundStormConfig,
  SoundStormTrainingConfig,
)


def get_config() -> ConfigDict:
  """Every field of `TrainConfig`, so that each can be set by a flag."""
  config = TrainConfig(
    task="soundstorm",
    steps=6000,
    batch_size=32,
    log_every=100,
    eval_every=1000,
    save_every=1000,
    system=SoundStormTrainingConfig(
      codebook_start_batches=60,
      model=SoundStormConfig(
        semantic_vocab=1024,
        conformer=ConformerConfig(
          dim=320,
          layers=7,
          heads=5,
          ff_dim=1280,
          dropout=0.15,
          # Unrolled: seven layers compile soon, and run faster so.
          scan_layers=False,
        ),
      ),
      masking=MaskingConfig(
        no_prompt_prob=0.2,
        semantic_dropout=0.1,
        coarse_bias=1.0,
        full_mask_prob=0.1,
      ),
    ),
    data=DataConfig(
      window_seconds=12.0,
      min_window_seconds=3.0,
      eval_batches=8,
      cache=True,
    ),
    optimizer=OptimizerConfig(
      lr=1.2e-3,
      warmup_steps=200,
      final_lr_ratio=0.03,
      weight_decay=0.05,
      ema_decay=0.998,
    ),
  )
  return ConfigDict(to_mapping(config))
