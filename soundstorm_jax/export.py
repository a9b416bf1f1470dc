"""Turns a checkpoint of a run into a file of weights.

  python -m soundstorm_jax.export --workdir=runs/small \\
    --output=weights/soundstorm.safetensors

The averaged parameters are written, in half precision or what --dtype says. The
kind of model and its config come from the checkpoint.
"""

import argparse
import os
import pathlib
from collections.abc import Sequence

from absl import logging

from soundstorm_jax.config import to_mapping
from soundstorm_jax.train import SYSTEMS, read_config
from soundstorm_jax.training.checkpoint import restore_for_inference
from soundstorm_jax.weights import DTYPES, save_weights


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
    dtype: "float16", "float32" or "int8" (`weights.save_weights`).

  Raises:
    FileNotFoundError: there is no such checkpoint, or the file of Whisper's
      weights that it was trained on is gone.
  """
  restored = restore_for_inference(workdir, step=step)
  config = read_config(restored.config)
  kind, model, params = SYSTEMS[config.task].weights(config, restored.state)
  save_weights(
    output,
    params,
    config=to_mapping(model),
    kind=kind,
    dtype=dtype,
    metadata={"step": str(restored.step)},
  )
  return restored.step


def main(argv: Sequence[str] | None = None) -> None:
  """Reads the flags and exports."""
  summary, _, details = (__doc__ or "").partition("\n")
  parser = argparse.ArgumentParser(
    prog="python -m soundstorm_jax.export",
    description=summary,
    epilog=details,
    formatter_class=argparse.RawDescriptionHelpFormatter,
  )
  add = parser.add_argument
  add("--workdir", required=True, help="the run's folder")
  add("--output", required=True, help="the file to write")
  add("--step", type=int, help="which checkpoint; or the newest")
  add("--dtype", default="float16", choices=DTYPES)
  args = parser.parse_args(argv)
  logging.set_verbosity(logging.WARNING)
  step = export(args.workdir, args.output, step=args.step, dtype=args.dtype)
  size = pathlib.Path(args.output).stat().st_size
  print(f"{args.output}: step {step}, {size / 1e6:.1f} MB")


if __name__ == "__main__":
  main()
