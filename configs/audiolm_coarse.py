"""AudioLM's coarse acoustic stage: levels 1 to 4 from semantic tokens.

  python -m soundstorm_jax.train --config=configs/audiolm_coarse.py:small \\
    --workdir=runs/audiolm_coarse --config.data.path=tokens/small
  python -m soundstorm_jax.export --workdir=runs/audiolm_coarse \\
    --output=audiolm_coarse.safetensors

and the fine stage with configs/audiolm_fine.py, from the same tokens, which are
those of configs/small.py; `soundstorm_jax.load_audiolm` takes the folder with
both files.

Arguments: `paper` (AudioLM's sizes, windows of 10 s: 160M parameters, for an
accelerator, not yet run), `small` (the shipped weights: 2.0M, which with the
fine stage's 3.4M makes 5.4M) and `tiny` (20 steps, to try it out).

`small` differs from the paper in ways that suit two cores: relative positions
that measure time (`AudioLMConfig.positions`), of which all beyond 0.64 s are
alike, and so windows of 3 s in training, of up to 6 s in use. On one core its
900 steps took 45 minutes beside other work; with windows of 6 s a step took
nearly four times as long, most of it attention. The shipped weights had 362.
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

# Data, steps and optimizer as in librilight.py: AudioLM's are not given.
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
    window_seconds=10.0, min_window_seconds=0.0, eval_batches=16, workers=16
  ),
  optimizer=OptimizerConfig(lr=3e-4, warmup_steps=5000, ema_decay=0.9999),
  system=AudioLMTrainingConfig(
    model=AudioLMConfig(
      stage="coarse",
      window_frames=500,
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
  steps=900,
  batch_size=8,
  log_every=20,
  eval_every=100,
  save_every=150,
  data=DataConfig(
    window_seconds=3.0, min_window_seconds=2.0, eval_batches=8, cache=True
  ),
  optimizer=OptimizerConfig(
    lr=3e-3, warmup_steps=100, final_lr_ratio=0.02, ema_decay=0.99
  ),
  system=AudioLMTrainingConfig(
    model=AudioLMConfig(
      stage="coarse",
      # That of the shipped semantic tokens.
      semantic_vocab=1024,
      window_frames=300,
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
  data=DataConfig(window_seconds=2.0, min_window_seconds=1.0, eval_batches=2),
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
