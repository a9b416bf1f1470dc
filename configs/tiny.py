"""A run of seconds, to see every part of training work; `make demo` does it.

  python -m soundstorm_jax.train --config=configs/tiny.py \\
    --workdir=runs/tiny --config.data.path=tokens/demo

The loss starts at ln 1024 = 6.93 and falls by half a nat or more. The argument
says for how many steps (tiny.py:120); the same workdir continues a shorter run.
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
  SoundStormConfig,
  SoundStormTrainingConfig,
)


def get_config(arg: str = "80") -> ConfigDict:
  """Every field of `TrainConfig`, so that each can be set by a flag."""
  config = TrainConfig(
    task="soundstorm",
    steps=int(arg),
    batch_size=8,
    log_every=10,
    eval_every=40,
    save_every=20,
    keep_checkpoints=2,
    data=DataConfig(window_seconds=2.0, min_window_seconds=1.0, eval_batches=2),
    optimizer=OptimizerConfig(lr=3e-3, warmup_steps=10, ema_decay=0.9),
    system=SoundStormTrainingConfig(
      model=SoundStormConfig(
        # That of the shipped semantic tokens.
        semantic_vocab=1024,
        conformer=ConformerConfig(
          dim=64, layers=2, heads=2, ff_dim=128, scan_layers=False
        ),
      )
    ),
  )
  return ConfigDict(to_mapping(config))
