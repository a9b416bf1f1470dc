"""What the training of semantic tokens sees and aims at, made inside the step.

The voice is perturbed, channels are hidden and noise is added, while the aim
stays the speech as it was recorded: what is left to tell is what was said.

Axes: B batch, N samples, P log-mel frames of 10 ms, M mels, S = P / 2
frames of a teacher, E their dimensions.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from soundstorm_jax.config import SemanticEncoderConfig, TrainConfig
from soundstorm_jax.data.phones import STEPS_PER_SECOND
from soundstorm_jax.models import semantic
from soundstorm_jax.training import perturb
from soundstorm_jax.training.metrics import Mean, Metrics


class Example(NamedTuple):
  """What windows became before spans were hidden.

  Attributes:
    mel: normalised log-mel frames.
    recorded: the same without perturbations but the tempo's.
    phones: numbers, at the same rate.
    valid: frames of the recording.
    teacher: another network's features of the recording, at half the rate.
  """

  mel: Float[Array, "B P M"]
  recorded: Float[Array, "B P M"]
  phones: Int[Array, "B P"]
  valid: Bool[Array, "B P"]
  teacher: Float[Array, "B S E"] | None = None


def check_sizes(config: TrainConfig) -> None:
  """Raises ValueError if frames or windows do not fit phones or tokens."""
  encoder = config.semantic_encoder
  hop = semantic.hop_of(encoder)
  if hop * STEPS_PER_SECOND != encoder.sample_rate:
    raise ValueError(
      f"frames must be of 1 / {STEPS_PER_SECOND} s, got {hop} samples at "
      f"{encoder.sample_rate} Hz"
    )
  tokens = config.data.window_seconds * encoder.tokens_per_second
  if tokens != int(tokens):
    raise ValueError(
      "window_seconds must be a whole number of tokens at "
      f"{encoder.tokens_per_second} Hz, got {config.data.window_seconds}"
    )


def plain(batch: dict[str, Array], config: SemanticEncoderConfig) -> Example:
  """Nothing perturbed."""
  spectrum = semantic.spectrum(batch["audio"], batch["length"], config=config)
  frames = -(-batch["length"] // semantic.hop_of(config))
  valid = jnp.arange(spectrum.shape[1]) < frames[:, None]
  mel = semantic.normalise(semantic.log_mel(spectrum, config=config), valid)
  return Example(mel, mel, batch["phones"], valid, batch.get("teacher"))


def perturbed(
  key: Key[Array, ""], batch: dict[str, Array], config: TrainConfig
) -> Example:
  """Another voice, tempo and noise, and channels hidden."""
  encoder, training = config.semantic_encoder, config.semantic_training
  rows = batch["length"].shape[0]
  noise, warp, tempo, bands = jax.random.split(key, 4)
  speed = perturb.random_factor(tempo, rows, largest=training.tempo)
  frames = -(-batch["length"] // semantic.hop_of(encoder))

  def mel_of(spectrum: jax.Array) -> tuple[jax.Array, jax.Array]:
    mel = semantic.log_mel(spectrum, config=encoder)
    places = jnp.arange(mel.shape[1]) * speed[:, None]
    # A faster window ends before the batch's does.
    valid = (places < frames[:, None]) & (places < mel.shape[1])
    return semantic.normalise(perturb.change_tempo(mel, speed), valid), valid

  recorded, valid = mel_of(
    semantic.spectrum(batch["audio"], batch["length"], config=encoder)
  )
  audio = perturb.add_noise(noise, batch["audio"], least_snr=training.noise_snr)
  spectrum = semantic.spectrum(audio, batch["length"], config=encoder)
  spectrum = perturb.scale_frequencies(
    spectrum, perturb.random_factor(warp, rows, largest=training.warp)
  )
  mel, _ = mel_of(spectrum)
  hidden = perturb.mel_mask(
    bands,
    rows,
    mels=encoder.mels,
    masks=training.mel_masks,
    width=training.mel_mask_width,
  )
  mel = jnp.where(hidden[:, None, :], 0.0, mel)
  phones = perturb.change_tempo_of_labels(batch["phones"], speed)
  teacher = batch.get("teacher")
  if teacher is not None:
    teacher = perturb.change_tempo(teacher, speed)
  phones = jnp.where(valid, phones, -1)
  return Example(mel, recorded, phones, valid, teacher)


def with_loss(metrics: Metrics, **weights: float) -> Metrics:
  """`metrics`, and as "loss" the sum of means times the weights so named."""
  total = sum(
    weight * metrics[name].total / jnp.maximum(metrics[name].count, 1.0)
    for name, weight in weights.items()
  )
  return metrics | {"loss": Mean.of(total)}
