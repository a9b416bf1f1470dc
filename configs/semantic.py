"""The centres of semantic tokens, by k-means.

  python -m soundstorm_jax.train --config=configs/semantic.py \
    --config.data.path=LibriSpeech/dev-clean --workdir=runs/semantic \
    --config.kmeans.encoder=runs/encoder/encoder.safetensors \
    --config.kmeans.clusters=500

writes runs/semantic/semantic.safetensors: centres of the features of the last
layer of an encoder (see semantic_encoder.py), 25 tokens a second, fitted to 16
speakers of dev-clean; the four others are held out. Without
--config.kmeans.encoder the features are MFCC, which need no training.
"""

import ml_collections

from soundstorm_jax import config as config_lib


def get_config() -> ml_collections.ConfigDict:
  """The defaults of `KMeansConfig` on LibriSpeech."""
  config = ml_collections.ConfigDict(
    config_lib.to_mapping(
      config_lib.TrainConfig(
        task="kmeans",
        data=config_lib.DataConfig(
          held_out_speakers=("1272", "2035", "2412", "422")
        ),
      )
    )
  )
  return config
