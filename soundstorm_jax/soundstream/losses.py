"""SoundStream's losses (arXiv 2107.03312, section III-E), as pure functions.

Sums over time are means here, so that the weights do not depend on how long
the training crops are.

Axis letters: B batch, N samples.
"""

from collections.abc import Sequence

import jax.numpy as jnp
from jaxtyping import Array, Float

from soundstorm_jax.layers.features import compressed_spectrum, mel_spectrogram
from soundstorm_jax.soundstream.discriminators import Judgement

MEL_WINDOWS = (64, 128, 256, 512, 1024, 2048)
MELS = 64
SPECTRUM_WINDOWS = (128, 512, 2048)


def mel_loss(
  real: Float[Array, "B N"], made: Float[Array, "B N"], *, sample_rate: int
) -> Float[Array, ""]:
  """Multi-scale spectral reconstruction, equation 6 of the paper.

  For windows of 2^6 to 2^11 samples, hop a quarter: the L1 distance of the mel
  spectrograms plus sqrt(window / 2) times the L2 distance of their logarithms.
  The paper sums over mels too; both terms are divided by their number here.
  """
  total = jnp.zeros(())
  for window in MEL_WINDOWS:
    first, second = (
      mel_spectrogram(
        audio,
        sample_rate=sample_rate,
        window=window,
        hop=window // 4,
        mels=MELS,
      )
      for audio in (real, made)
    )
    # The linear term is of the plain transform, which grows with the window.
    # Scaled to unit amplitude it would vanish beside the logarithmic one.
    linear = jnp.mean(jnp.abs(first - second)) * (window / 2)
    # The floor, -80 dB of full scale, keeps the gradient of bands that are all
    # but silent from drowning that of speech.
    logs = jnp.log(first + 1e-4) - jnp.log(second + 1e-4)
    distance = jnp.sqrt(jnp.sum(jnp.square(logs), axis=-1) + 1e-6) / MELS
    total += linear + jnp.sqrt(window / 2) * jnp.mean(distance)
  return total


def spectrum_loss(
  real: Float[Array, "B N"], made: Float[Array, "B N"]
) -> Float[Array, ""]:
  """L1 distance of complex spectra whose magnitudes are compressed.

  Not in the paper. Where the target is a function of the codes, as another
  codec's speech is, its phases can be learnt, and with them what makes speech
  of a spectrum. The power of 0.3 lets soft sounds count beside loud ones.
  """
  total = jnp.zeros(())
  for window in SPECTRUM_WINDOWS:
    first, second = (
      compressed_spectrum(audio, window=window, hop=window // 4)
      for audio in (real, made)
    )
    total += jnp.mean(jnp.abs(first - second))
  return total / len(SPECTRUM_WINDOWS)


def latent_loss(
  real: Float[Array, "B T D"], made: Float[Array, "B T D"]
) -> Float[Array, ""]:
  """Squared distance, as a share of the variance of what is to be met."""
  spread = jnp.mean(jnp.square(real - jnp.mean(real, axis=(0, 1))))
  return jnp.mean(jnp.square(real - made)) / (spread + 1e-6)


def discriminator_loss(
  real: Sequence[Judgement], made: Sequence[Judgement]
) -> Float[Array, ""]:
  """Hinge loss, the mean over discriminators and time (equation 1)."""
  losses = [
    jnp.mean(jnp.maximum(0.0, 1.0 - r.logits))
    + jnp.mean(jnp.maximum(0.0, 1.0 + m.logits))
    for r, m in zip(real, made, strict=True)
  ]
  return sum(losses) / len(losses)


def adversarial_loss(made: Sequence[Judgement]) -> Float[Array, ""]:
  """What the generator pays for being caught (equation 2)."""
  losses = [jnp.mean(jnp.maximum(0.0, 1.0 - m.logits)) for m in made]
  return sum(losses) / len(losses)


def feature_loss(
  real: Sequence[Judgement], made: Sequence[Judgement]
) -> Float[Array, ""]:
  """L1 distance of the discriminators' features (equation 4)."""
  losses = [
    jnp.mean(jnp.abs(r - m))
    for real_one, made_one in zip(real, made, strict=True)
    for r, m in zip(real_one.features, made_one.features, strict=True)
  ]
  return sum(losses) / len(losses)


def si_sdr(
  real: Float[Array, "B N"], made: Float[Array, "B N"]
) -> Float[Array, "B"]:
  """Scale-invariant signal-to-distortion ratio in dB."""
  scale = jnp.sum(real * made, -1) / (jnp.sum(real * real, -1) + 1e-8)
  target = scale[:, None] * real
  noise = made - target
  ratio = (jnp.sum(target**2, -1) + 1e-8) / (jnp.sum(noise**2, -1) + 1e-8)
  return 10 * jnp.log10(ratio)
