"""Turns a checkpoint of a run into a file of weights.

  python -m soundstorm_jax.export --workdir=runs/small \\
    --output=weights/soundstorm.safetensors

The averaged parameters are written, in half precision. The kind of model and
its config come from the checkpoint.
"""

import os
import pathlib
from typing import Any

from absl import app, flags

from soundstorm_jax.config import to_mapping
from soundstorm_jax.training.checkpoint import restore_for_inference
from soundstorm_jax.weights import save_weights


def export(
  workdir: str | os.PathLike[str],
  output: str | os.PathLike[str],
  *,
  step: int | None = None,
  dtype: str = "float16",
) -> int:
  """Writes the weights of a run; returns the step they are from.

  Args:
    workdir: of the run.
    output: the file to write.
    step: which checkpoint; the newest if None.
    dtype: "float16" or "float32".

  Raises:
    FileNotFoundError: there is no such checkpoint.
  """
  restored = restore_for_inference(workdir, step=step)
  config, state = restored.config, restored.state
  params: dict[str, Any] = state["ema_params"]
  if config.task == "soundstream":
    codebooks = state["codebooks"]["vectors"]
    params = {"params": params, "codebooks": codebooks}
  model = getattr(config, config.task)
  save_weights(
    output,
    params,
    config=to_mapping(model),
    kind=config.task,
    dtype=dtype,
    metadata={"step": str(restored.step)},
  )
  return restored.step


_WORKDIR = flags.DEFINE_string("workdir", None, "The run's folder.")
_OUTPUT = flags.DEFINE_string("output", None, "The file to write.")
_STEP = flags.DEFINE_integer("step", None, "Which checkpoint; or the newest.")
_DTYPE = flags.DEFINE_enum(
  "dtype", "float16", ["float16", "float32"], "Precision on disk."
)


def main(argv: list[str]) -> None:
  """Reads the flags and exports."""
  if len(argv) > 1:
    raise app.UsageError(f"unexpected arguments: {' '.join(argv[1:])}")
  step = export(
    _WORKDIR.value, _OUTPUT.value, step=_STEP.value, dtype=_DTYPE.value
  )
  size = pathlib.Path(_OUTPUT.value).stat().st_size
  print(f"{_OUTPUT.value}: step {step}, {size / 1e6:.1f} MB")


if __name__ == "__main__":
  flags.mark_flags_as_required(["workdir", "output"])
  app.run(main)
