"""What a codec's run carries beside what every run has."""

from typing import Any, NamedTuple

from jaxtyping import Array, Int

from soundstorm_jax.soundstream import quantizer


class CodecState(NamedTuple):
  """Everything a codec run carries from step to step.

  Attributes:
    step: completed steps.
    params: encoder and decoder.
    opt_state: their optimizer's.
    ema_params: their moving average, which is evaluated and exported.
    codebooks: the quantizer's.
    discriminators: parameters.
    discriminators_opt: their optimizer's.
  """

  step: Int[Array, ""]
  params: Any
  opt_state: Any
  ema_params: Any
  codebooks: quantizer.Codebooks
  discriminators: Any
  discriminators_opt: Any
