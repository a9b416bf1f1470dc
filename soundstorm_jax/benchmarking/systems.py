"""SoundStorm and AudioLM as the benchmark runs them: same inputs, same codec.

Axes: B batch, T frames, Q levels.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Key

from soundstorm_jax.audiolm.config import AudioLMSamplerConfig, AudioLMStages
from soundstorm_jax.audiolm.cost import StageWork, count_work
from soundstorm_jax.audiolm.sampler import make_sampler as make_audiolm_sampler
from soundstorm_jax.benchmarking.clock import compile_program
from soundstorm_jax.benchmarking.extrapolation import Estimate, StageClock
from soundstorm_jax.benchmarking.sizes import (
  Size,
  parameter_count,
  soundstorm_shapes,
)
from soundstorm_jax.soundstorm.config import SoundStormConfig, default_sampler
from soundstorm_jax.soundstorm.network import SoundStorm
from soundstorm_jax.soundstorm.sampler import make_sampler

# The systems' names, and how a report calls them.
SOUNDSTORM, AUDIOLM, BATCHED = "soundstorm", "audiolm", "audiolm_batched"
SYSTEMS = {
  SOUNDSTORM: "SoundStorm",
  AUDIOLM: "AudioLM as published",
  BATCHED: "AudioLM, chunks at once",
}


class Inputs(NamedTuple):
  """What every system gets: no prompts, and rows of one length."""

  semantic: Int[Array, "B T"]
  length: Int[Array, " B"]
  keys: Key[Array, " B"]


def make_inputs(
  size: Size, *, batch_size: int, frames: int, rng: np.random.Generator
) -> Inputs:
  """Random semantic tokens."""
  shape = (batch_size, frames)
  return Inputs(
    jnp.asarray(rng.integers(0, size.model.semantic_vocab, shape, np.int32)),
    jnp.full(batch_size, frames, jnp.int32),
    jax.random.split(jax.random.key(0, impl="threefry2x32"), batch_size),
  )


@dataclasses.dataclass(frozen=True)
class Prepared:
  """A system that is compiled for a shape.

  Attributes:
    compile_s: what that took.
    bytes: that the program takes; see `Program`.
    run: from inputs to tokens.
    passes: of the networks, one after another.
    flops: of the networks, over all passes.
    estimate: of a run, where it is a sum of many short ones.
  """

  compile_s: float
  bytes: int | None
  run: Callable[[], Int[Array, "B T Q"]]
  passes: int
  flops: float
  estimate: Estimate | None = None


class SoundStormSystem:
  """SoundStorm by its default sampler: 16 passes at level 1, one at others.

  Args:
    config: the network's.
    params: its parameters.
  """

  def __init__(self, config: SoundStormConfig, params: Any):
    self._config = config
    self._variables = {"params": params}
    self.parameters = parameter_count(params)

  def prepare(self, inputs: Inputs) -> Prepared:
    """Compiles it."""
    sampler = default_sampler(self._config.levels)
    rows, frames = inputs.semantic.shape
    given = (self._variables, inputs.semantic)
    rest = {
      "prompt": jnp.zeros((rows, frames, self._config.levels), jnp.int32),
      "prompt_length": jnp.zeros(rows, jnp.int32),
      "length": inputs.length,
      "keys": inputs.keys,
    }
    sample = make_sampler(self._config, sampler)
    program = compile_program(lambda: sample.lower(*given, **rest))
    return Prepared(
      program.compile_s,
      program.bytes,
      lambda: program.compiled(*given, **rest),
      passes=sampler.passes,
      flops=sampler.passes * _pass_flops(self._config, rows, frames),
    )


def _pass_flops(config: SoundStormConfig, rows: int, frames: int) -> float:
  """Of one pass of SoundStorm, compiled without any loop."""
  conformer = dataclasses.replace(
    config.conformer, scan_layers=False, remat=False
  )
  config = dataclasses.replace(config, conformer=conformer)
  # Shapes alone: nothing of it runs.
  variables = {"params": soundstorm_shapes(config)}

  def ints(*shape: int) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, jnp.int32)

  @jax.jit
  def one_pass(variables, tokens, semantic, length, level):
    valid = jnp.arange(frames) < length[:, None]
    return SoundStorm(config).apply(
      variables, tokens, semantic, valid, level=level
    )

  return compile_program(
    lambda: one_pass.lower(
      variables,
      ints(rows, frames, config.levels),
      ints(rows, frames),
      ints(rows),
      ints(),
    )
  ).flops


class AudioLMSystem:
  """Both acoustic stages of AudioLM.

  Args:
    stages: the networks' configs.
    params: of both, by name, as `decoding_params` gives them.
    clock: times their steps; of the same parameters.
    parallel_chunks: see `AudioLMSamplerConfig`.
  """

  def __init__(
    self,
    stages: AudioLMStages,
    params: Mapping[str, Any],
    *,
    clock: StageClock,
    parallel_chunks: bool,
  ):
    self._stages = stages
    self._params = params
    self._clock = clock
    self._sampler = AudioLMSamplerConfig(parallel_chunks=parallel_chunks)
    self.parameters = parameter_count(params)

  def work(self, inputs: Inputs) -> tuple[StageWork, StageWork]:
    """What both stages do for these inputs."""
    rows, frames = inputs.semantic.shape
    return count_work(
      self._stages,
      self._sampler,
      frames=frames,
      prompt_length=[0] * rows,
      length=[frames] * rows,
    )

  def prepare(self, inputs: Inputs) -> Prepared:
    """Compiles it, and times its steps."""
    rows = len(inputs.semantic)
    given = (self._params, inputs.semantic)
    rest = {
      "prompt": jnp.zeros((rows, 0, self._stages.levels), jnp.int32),
      "prompt_length": jnp.zeros(rows, jnp.int32),
      "length": inputs.length,
      "keys": inputs.keys,
    }
    sample = make_audiolm_sampler(self._stages, self._sampler)
    program = compile_program(lambda: sample.lower(*given, **rest))
    work = self.work(inputs)
    estimate = self._clock.estimate(work)
    return Prepared(
      program.compile_s,
      program.bytes,
      lambda: program.compiled(*given, **rest),
      passes=sum(stage.prefills + stage.steps for stage in work),
      flops=estimate.flops,
      estimate=estimate,
    )
