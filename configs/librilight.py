"""The paper's SoundStorm (section 4.1): 350M parameters on LibriLight.

  python -m soundstorm_jax.train --config=configs/librilight.py \\
    --workdir=gs://BUCKET/librilight --distributed \\
    --config.data.path=gs://BUCKET/tokens/librilight

The paper gives the model, the data (60,000 h, 10 epochs) and the windows
(0-30 s); optimizer, learning rate and batch are ours. A batch of 256 windows of
15 s on average makes 10 epochs of about 560,000 steps. Nobody has run this to
its end here; Table 1 of the paper is what to expect of it.
"""

from ml_collections import ConfigDict

from soundstorm_jax.config import (
  DataConfig,
  MeshConfig,
  OptimizerConfig,
  TrainConfig,
  to_mapping,
)
from soundstorm_jax.layers.config import ConformerConfig
from soundstorm_jax.soundstorm.config import (
  SoundStormConfig,
  SoundStormTrainingConfig,
)


def get_config() -> ConfigDict:
  """Every field of `TrainConfig`, so that each can be set by a flag."""
  config = TrainConfig(
    task="soundstorm",
    steps=560_000,
    batch_size=256,
    log_every=100,
    eval_every=5000,
    save_every=5000,
    sample_every=20_000,
    mesh=MeshConfig(data=1, fsdp=-1),
    data=DataConfig(
      window_seconds=30.0, min_window_seconds=0.0, eval_batches=16, workers=16
    ),
    optimizer=OptimizerConfig(lr=3e-4, warmup_steps=5000, ema_decay=0.9999),
    system=SoundStormTrainingConfig(
      model=SoundStormConfig(
        conformer=ConformerConfig(
          dim=1024,
          layers=12,
          heads=16,
          ff_dim=4096,
          dropout=0.1,
          scan_layers=True,
          remat=True,
          dtype="bfloat16",
        ),
      )
    ),
  )
  return ConfigDict(to_mapping(config))
