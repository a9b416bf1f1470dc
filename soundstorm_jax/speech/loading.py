"""Models from folders of weights; nothing is downloaded."""

import pathlib
from collections.abc import Sequence

import jax

from soundstorm_jax.audiolm.config import (
  AudioLMConfig,
  AudioLMSamplerConfig,
  AudioLMStages,
)
from soundstorm_jax.config import from_mapping
from soundstorm_jax.semantic.learned import load_semantic
from soundstorm_jax.soundstorm.config import SamplerConfig, SoundStormConfig
from soundstorm_jax.soundstream.tokenizer import SoundStreamTokenizer
from soundstorm_jax.speech.audiolm import AudioLMModel
from soundstorm_jax.speech.model import BUCKETS, SpeechModel
from soundstorm_jax.weights import fingerprint, load_weights

SHIPPED = pathlib.Path(__file__).parents[1] / "shipped" / "small"
# The paper's, colder and with guidance: weights as unsure as these say more of
# the words so (figures in the model card).
SHIPPED_SAMPLER = SamplerConfig(temperature=0.8, guidance_scale=2.0)


def load(
  path: str | pathlib.Path | None = None,
  *,
  batch_size: int = 4,
  sampler: SamplerConfig | None = None,
  buckets: Sequence[int] = BUCKETS,
  int8: bool = False,
  compilation_cache: str | pathlib.Path | None = None,
) -> SpeechModel:
  """Loads a folder of weights; nothing is downloaded.

  Args:
    path: with soundstorm.safetensors, soundstream.safetensors and
      semantic.safetensors; the small weights that are shipped if None.
    batch_size: see `SpeechModel`.
    sampler: see `SpeechModel`; if None, `SHIPPED_SAMPLER` for the shipped
      weights.
    buckets: see `SpeechModel`.
    int8: see `SpeechModel`.
    compilation_cache: a folder that keeps what is compiled for later
      processes; it holds for all that this process compiles from now on.

  Raises:
    FileNotFoundError: one of the files is missing.
    ImportError: see `SpeechModel`.
    ValueError: a file holds something else, or they do not fit together.
  """
  if compilation_cache is not None:
    keep_compiled(compilation_cache)
  if path is None:
    path, sampler = SHIPPED, sampler or SHIPPED_SAMPLER
  path = pathlib.Path(path)
  file = path / "soundstorm.safetensors"
  weights = load_weights(file, kind="soundstorm")
  return SpeechModel(
    from_mapping(SoundStormConfig, weights.config),
    params=weights.params,
    codec=SoundStreamTokenizer.load(path / "soundstream.safetensors"),
    semantic_tokenizer=load_semantic(path / "semantic.safetensors"),
    batch_size=batch_size,
    sampler=sampler,
    buckets=buckets,
    fingerprints={"soundstorm": fingerprint(file)},
    int8=int8,
  )


def load_audiolm(
  path: str | pathlib.Path | None = None,
  *,
  batch_size: int = 4,
  sampler: AudioLMSamplerConfig | None = None,
  buckets: Sequence[int] = BUCKETS,
  compilation_cache: str | pathlib.Path | None = None,
) -> AudioLMModel:
  """Loads both stages, and the tokenizers whose tokens they are of.

  Args:
    path: folder with audiolm_coarse.safetensors, audiolm_fine.safetensors,
      soundstream.safetensors and semantic.safetensors; the small weights that
      are shipped if None.
    batch_size: see `SpeechModel`.
    sampler: see `AudioLMModel`.
    buckets: see `SpeechModel`.
    compilation_cache: see `load`.

  Raises:
    FileNotFoundError: one of the files is missing.
    ValueError: a file holds something else, or they do not fit together.
  """
  if compilation_cache is not None:
    keep_compiled(compilation_cache)
  path = pathlib.Path(SHIPPED if path is None else path)
  files = {s: path / f"audiolm_{s}.safetensors" for s in ("coarse", "fine")}
  weights = {
    stage: load_weights(file, kind="audiolm") for stage, file in files.items()
  }
  return AudioLMModel(
    AudioLMStages(
      **{
        stage: from_mapping(AudioLMConfig, loaded.config)
        for stage, loaded in weights.items()
      }
    ),
    params={stage: loaded.params for stage, loaded in weights.items()},
    codec=SoundStreamTokenizer.load(path / "soundstream.safetensors"),
    semantic_tokenizer=load_semantic(path / "semantic.safetensors"),
    batch_size=batch_size,
    sampler=sampler,
    buckets=buckets,
    fingerprints={
      f"audiolm_{stage}": fingerprint(file) for stage, file in files.items()
    },
  )


def keep_compiled(folder: str | pathlib.Path) -> None:
  """Keeps what this process compiles from now on for later ones."""
  from jax.experimental.compilation_cache import compilation_cache as cache

  jax.config.update("jax_compilation_cache_dir", str(folder))
  # Jax looks at the setting once, when it first compiles.
  cache.reset_cache()
