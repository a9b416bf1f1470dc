"""The encoder and the centres of its semantic tokens, trained together.

k-means places centres where an encoder's features happen to lie. Here features
are replaced by the nearest centre within the network (VQ-VAE, arXiv 1711.00937,
section 3), and a decoder must tell from the centres alone what was said and how
it sounded: encoder and centres move until the tokens say it.

Axes: B batch, T token frames, F channels, L = 4 M stacked log-mel channels, D
width, V centres.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
from jaxtyping import Array, Bool, Float, Int

from soundstorm_jax.layers.conformer import Conformer
from soundstorm_jax.semantic.config import SemanticEncoderConfig
from soundstorm_jax.semantic.network import (
  FRAMES_PER_TOKEN,
  SemanticEncoder,
  dense,
)
from soundstorm_jax.soundstream import quantizer


class Heard(NamedTuple):
  """What the decoder makes of the tokens, in float32.

  Attributes:
    features: of the encoder.
    chosen: the centres nearest to them.
    tokens: their numbers.
    frames: log-mel frames, stacked.
    phones: logits of the phones.
    ctc: logits of the blank and the phones.
  """

  features: Float[Array, "B T D"]
  chosen: Float[Array, "B T D"]
  tokens: Int[Array, "B T"]
  frames: Float[Array, "B T L"]
  phones: Float[Array, "B T _"]
  ctc: Float[Array, "B T _"]


class SemanticTokens(nn.Module):
  """Encoder, centres and a decoder that is needed for training alone.

  Attributes:
    config: of the encoder; its last layer's features become tokens.
    decoder_layers: of the Conformer that reads the tokens.
    centres: V.
    phones: number of phones.
  """

  config: SemanticEncoderConfig
  decoder_layers: int
  centres: int
  phones: int

  @nn.compact
  def __call__(
    self,
    frames: Float[Array, "B T F"],
    valid: Bool[Array, "B T"] | None,
    *,
    deterministic: bool = True,
  ) -> Heard:
    """From what the encoder hears to tokens, and on to log-mel frames.

    Args:
      frames: of `semantic.Listener`.
      valid: the frames that hold speech.
      deterministic: no dropout.
    """
    conformer = self.config.conformer
    features = SemanticEncoder(self.config, name="encoder")(
      frames, valid, deterministic=deterministic
    ).astype("float32")
    centres = self.param(
      "centres",
      nn.with_logical_partitioning(
        nn.initializers.normal(1.0), ("vocab", "embed")
      ),
      (self.centres, conformer.dim),
    )
    tokens = quantizer.nearest(features, centres, precision="highest")
    chosen = centres[tokens]
    # Forward the centre alone; backward, features move like the centre.
    passed = chosen + features - jax.lax.stop_gradient(features)
    decoder = dataclasses.replace(conformer, layers=self.decoder_layers)
    heard = Conformer(decoder, name="decoder")(
      passed.astype(frames.dtype), valid, deterministic=deterministic
    ).astype("float32")

    def head(width: int, name: str) -> Float[Array, "B T _"]:
      return dense(width, "embed", "vocab", name=name)(heard)

    return Heard(
      features=features,
      chosen=chosen,
      tokens=tokens,
      frames=head(FRAMES_PER_TOKEN * self.config.mels, "frame_head"),
      phones=head(self.phones, "phone_head"),
      ctc=head(1 + self.phones, "ctc_head"),
    )


def rescale_output(
  encoder: Mapping[str, Any],
  mean: Float[Array, "D"],
  std: Float[Array, "D"],
) -> dict[str, Any]:
  """An encoder's parameters with its features normalised per dimension.

  The last layer ends with a LayerNorm, whose scale and bias take it up.

  Args:
    encoder: parameters, layers stacked or not.
    mean: of the features.
    std: likewise.
  """
  blocks = dict(encoder["conformer"])
  if "layers" in blocks:
    norm = blocks["layers"]["norm"]
    changed = {
      "scale": norm["scale"].at[-1].divide(std),
      "bias": norm["bias"].at[-1].set((norm["bias"][-1] - mean) / std),
    }
    blocks["layers"] = blocks["layers"] | {"norm": changed}
  else:
    last = f"layer_{len(blocks) - 1}"
    norm = blocks[last]["norm"]
    changed = {
      "scale": norm["scale"] / std,
      "bias": (norm["bias"] - mean) / std,
    }
    blocks[last] = blocks[last] | {"norm": changed}
  return dict(encoder) | {"conformer": blocks}
