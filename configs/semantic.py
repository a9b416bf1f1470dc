"""The centres of semantic tokens, by k-means.

  python -m soundstorm_jax.train --config=configs/semantic.py \\
    --config.data.path=speech --workdir=runs/semantic \\
    --config.system.encoder=runs/encoder/encoder.safetensors

writes runs/semantic/semantic.safetensors: 1024 centres of the features of the
last layer of an encoder (see semantic_encoder.py), 25 tokens a second, fitted
to 16 speakers of dev-clean; the four others are held out. Without
--config.system.encoder the features are MFCC, which need no training.

Held-out speakers, all 244 utterances, at 25 tokens a second:

                             PNMI  phone purity  speaker NMI  speaker accuracy
  over Whisper, then trained
    with it, 1024: shipped   0.806         0.801        0.056             0.775
  over log-mel frames, then
    trained with it, 1024    0.696         0.683        0.093             0.955
    1024 centres             0.683         0.648        0.109             0.947
    a shorter run, 500       0.592         0.563        0.068             0.943
  MFCC, 500                  0.415         0.407        0.220             0.992

by `soundstorm_jax.evaluate --what=semantic`. The phones are PocketSphinx's
alignment, as in the encoder's training, but of other speakers; the commonest
speaker is 0.316 of the utterances.
"""

import ml_collections

from soundstorm_jax.config import DataConfig, TrainConfig, to_mapping
from soundstorm_jax.semantic.config import KMeansConfig


def get_config() -> ml_collections.ConfigDict:
  """The defaults of `KMeansConfig` on LibriSpeech."""
  config = ml_collections.ConfigDict(
    to_mapping(
      TrainConfig(
        task="kmeans",
        system=KMeansConfig(),
        data=DataConfig(held_out_speakers=("1272", "2035", "2412", "422")),
      )
    )
  )
  return config
