"""AudioLM's fine acoustic stage: levels 5 to 12 from levels 1 to 4.

  python -m soundstorm_jax.train --config=configs/audiolm_fine.py:small \\
    --workdir=runs/audiolm_fine --config.data.path=tokens/small
  python -m soundstorm_jax.export --workdir=runs/audiolm_fine \\
    --output=audiolm_fine.safetensors

Arguments: `paper` (AudioLM's sizes, chunks of 3 s: 172M parameters, for an
accelerator, not yet run), `small` (the shipped weights: 3.4M parameters, most
of them of embeddings and heads) and `tiny` (20 steps). See
configs/audiolm_coarse.py.

`small` trains on windows of 1 s, and makes chunks of 3 s: what is further away
than 0.32 s is all alike to it. On one core its 700 steps took 26 minutes; the
shipped weights had 325.
"""

import dataclasses

from ml_collections import ConfigDict

from soundstorm_jax.audiolm.config import AudioLMConfig, AudioLMTrainingConfig
from soundstorm_jax.config import (
  DataConfig,
  MeshConfig,
  OptimizerConfig,
  TrainConfig,
  to_mapping,
)
from soundstorm_jax.layers.config import TransformerConfig

# An utterance's last chunk may be of any length, hence the short windows.
PAPER = TrainConfig(
  task="audiolm",
  steps=560_000,
  batch_size=256,
  log_every=100,
  eval_every=5000,
  save_every=5000,
  sample_every=20_000,
  mesh=MeshConfig(data=1, fsdp=-1),
  data=DataConfig(
    window_seconds=3.0, min_window_seconds=0.0, eval_batches=16, workers=16
  ),
  optimizer=OptimizerConfig(lr=3e-4, warmup_steps=5000, ema_decay=0.9999),
  system=AudioLMTrainingConfig(
    model=AudioLMConfig(
      stage="fine",
      window_frames=150,
      transformer=TransformerConfig(
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

SMALL = TrainConfig(
  task="audiolm",
  steps=700,
  batch_size=8,
  log_every=20,
  eval_every=100,
  save_every=150,
  data=DataConfig(
    window_seconds=1.0, min_window_seconds=0.8, eval_batches=8, cache=True
  ),
  optimizer=OptimizerConfig(
    lr=3e-3, warmup_steps=100, final_lr_ratio=0.02, ema_decay=0.99
  ),
  system=AudioLMTrainingConfig(
    model=AudioLMConfig(
      stage="fine",
      semantic_vocab=1024,
      window_frames=150,
      positions="time",
      transformer=TransformerConfig(
        dim=128, layers=4, heads=4, ff_dim=512, scan_layers=False
      ),
    )
  ),
)

TINY = dataclasses.replace(
  SMALL,
  steps=20,
  log_every=5,
  eval_every=10,
  save_every=10,
  keep_checkpoints=2,
  data=DataConfig(window_seconds=1.0, min_window_seconds=0.5, eval_batches=2),
  optimizer=OptimizerConfig(lr=3e-3, warmup_steps=10, ema_decay=0.9),
  system=dataclasses.replace(
    SMALL.system,
    model=dataclasses.replace(
      SMALL.system.model,
      transformer=TransformerConfig(
        dim=32, layers=2, heads=2, ff_dim=64, scan_layers=False
      ),
    ),
  ),
)


def get_config(arg: str = "paper") -> ConfigDict:
  """Every field of `TrainConfig`, so that each can be set by a flag."""
  configs = {"paper": PAPER, "small": SMALL, "tiny": TINY}
  if arg not in configs:
    raise ValueError(f"arg must be paper, small or tiny, got {arg!r}")
  return ConfigDict(to_mapping(configs[arg]))
