"""What the training of semantic tokens sees and aims at, made inside the step.

The voice is perturbed, channels are hidden and noise is added, while the aim
stays the speech as it was recorded: what is left to tell is what was said.

Axes: B batch, N samples, P log-mel frames of 10 ms, M mels, T token frames, F
channels.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from soundstorm_jax.config import TrainConfig, from_mapping
from soundstorm_jax.data.phones import STEPS_PER_SECOND
from soundstorm_jax.semantic import network, perturb, whisper
from soundstorm_jax.semantic.config import (
  SemanticEncoderConfig,
  SemanticTrainingConfig,
  WhisperConfig,
)
from soundstorm_jax.training.feed import OnDevice, Source
from soundstorm_jax.training.metrics import Mean, Metrics
from soundstorm_jax.training.system import Share
from soundstorm_jax.weights import load_weights


class Example(NamedTuple):
  """What windows became before spans were hidden.

  Attributes:
    frames: what the network hears.
    recorded: normalised log-mel frames without perturbations but the tempo's.
    phones: numbers, at the same rate.
    valid: log-mel frames of the recording.
  """

  frames: Float[Array, "B T F"]
  recorded: Float[Array, "B P M"]
  phones: Int[Array, "B P"]
  valid: Bool[Array, "B P"]


def check_sizes(config: TrainConfig) -> None:
  """Raises ValueError if frames or windows do not fit phones or tokens."""
  encoder = config.system.model
  hop = network.hop_of(encoder)
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


def make_listener(config: TrainConfig) -> network.Listener:
  """What the network of a training hears.

  Raises:
    ValueError: the encoder reads Whisper's features and no file of it is named,
      or the file is not of Whisper, or of other sizes.
  """
  encoder, path = config.system.model, config.system.whisper
  if bool(encoder.whisper.layers) != bool(path):
    raise ValueError(
      "whisper must name a file if model.whisper has layers, and else none, "
      f"got {path!r} for {encoder.whisper.layers}"
    )
  if not path:
    return network.Listener(encoder)
  weights = load_weights(path, kind=whisper.KIND)
  if from_mapping(WhisperConfig, weights.config) != encoder.whisper:
    raise ValueError(
      f"{path} is of {weights.config}, model.whisper is {encoder.whisper}"
    )
  return network.Listener(encoder, jax.tree.map(jnp.asarray, weights.params))


def plain(batch: dict[str, Array], listener: network.Listener) -> Example:
  """Nothing perturbed."""
  config = listener.config
  spectrum = network.spectrum(batch["audio"], batch["length"], config=config)
  frames = -(-batch["length"] // network.hop_of(config))
  valid = jnp.arange(spectrum.shape[1]) < frames[:, None]
  recorded = network.normalise(network.log_mel(spectrum, config=config), valid)
  heard = listener.hear(spectrum, valid)
  return Example(heard, recorded, batch["phones"], valid)


def perturbed(
  key: Key[Array, ""],
  batch: dict[str, Array],
  *,
  listener: network.Listener,
  training: SemanticTrainingConfig,
) -> Example:
  """Another voice, tempo and noise, and channels hidden."""
  encoder = listener.config
  rows = batch["length"].shape[0]
  noise, warp, tempo, bands = jax.random.split(key, 4)
  speed = perturb.random_factor(tempo, rows, largest=training.tempo)
  frames = -(-batch["length"] // network.hop_of(encoder))

  spectrum = network.spectrum(batch["audio"], batch["length"], config=encoder)
  places = jnp.arange(spectrum.shape[1]) * speed[:, None]
  # A faster window ends before the batch's does.
  valid = (places < frames[:, None]) & (places < spectrum.shape[1])
  recorded = network.normalise(
    perturb.change_tempo(network.log_mel(spectrum, config=encoder), speed),
    valid,
  )
  audio = perturb.add_noise(noise, batch["audio"], least_snr=training.noise_snr)
  spectrum = network.spectrum(audio, batch["length"], config=encoder)
  spectrum = perturb.scale_frequencies(
    spectrum, perturb.random_factor(warp, rows, largest=training.warp)
  )
  mel = perturb.change_tempo(listener.log_mel(spectrum), speed)
  hidden = perturb.mel_mask(
    bands,
    rows,
    mels=encoder.mels,
    masks=training.mel_masks,
    width=training.mel_mask_width,
  )
  mel = jnp.where(hidden[:, None, :], 0.0, listener.normalise(mel, valid))
  phones = perturb.change_tempo_of_labels(batch["phones"], speed)
  phones = jnp.where(valid, phones, -1)
  return Example(listener.frames(mel, valid), recorded, phones, valid)


def with_loss(metrics: Metrics, **weights: float) -> Metrics:
  """`metrics`, and as "loss" the sum of means times the weights so named."""
  total = sum(
    weight * metrics[name].total / jnp.maximum(metrics[name].count, 1.0)
    for name, weight in weights.items()
  )
  return metrics | {"loss": Mean.of(total)}


def make_source(config: TrainConfig, share: Share) -> Source | OnDevice:
  """Windows of audio with their phones, made on the host.

  Raises:
    ValueError: also if they are to be cut on the device.
  """
  if config.data.on_device:
    raise ValueError(f"task {config.task!r} takes no data.on_device")
  from soundstorm_jax.data.phone_audio import PhoneAudioSource

  return PhoneAudioSource(
    config.data,
    config.system.model.sample_rate,
    phones_file=config.system.phones,
    seed=config.seed,
    **share._asdict(),
  )


def with_whisper(
  settings: SemanticTrainingConfig, params: dict[str, Any]
) -> dict[str, Any]:
  """Parameters to ship, with those of Whisper's that they are trained on."""
  if not settings.whisper:
    return params
  return {**params, "whisper": load_weights(settings.whisper).params}


def window_frames(
  batch: Mapping[str, Any], model: SemanticEncoderConfig
) -> int:
  """Tokens of a window."""
  hop = model.sample_rate // model.tokens_per_second
  return batch["audio"].shape[1] // hop
