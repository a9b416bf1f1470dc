"""Packs datasets of tokens into one file, to train without TensorFlow.

  python -m soundstorm_jax.pack --tokens=data/dev-clean,data/kathleen \\
    --output=tokens.safetensors

Splits of one name are joined, in the order of the datasets, which must be made
by the same tokenizers. `train --config.data.path=tokens.safetensors` holds the
whole file on the device; see data/packed.py for what is in it.
"""

import argparse
import dataclasses
import pathlib
import sys
from collections.abc import Iterator, Sequence

import tqdm

from soundstorm_jax.config import listed_names
from soundstorm_jax.data.packed import write_packed
from soundstorm_jax.data.records import (
  JoinedRecords,
  check_same_tokenizers,
  read_metadata,
  read_splits,
)
from soundstorm_jax.data.token_example import TokenExample


def pack(tokens: Sequence[str], output: str | pathlib.Path) -> dict[str, int]:
  """Writes the file; returns the number of utterances by split.

  Args:
    tokens: datasets of `soundstorm_jax.tokenize`.
    output: the file, *.safetensors.

  Raises:
    ValueError: no such dataset, datasets made by different tokenizers, or see
      `write_packed`.
  """
  if not tokens:
    raise ValueError("no token dataset is named")
  made = {path: read_metadata(path) for path in tokens}
  check_same_tokenizers(made)
  splits = sorted({split for path in tokens for split in read_splits(path)})
  joined = {s: JoinedRecords(",".join(tokens), split=s) for s in splits}

  def rows(split: str) -> Iterator[TokenExample]:
    records = joined[split]
    for number in tqdm.trange(len(records), unit="utt", desc=split):
      yield records[number]

  write_packed(
    output,
    metadata=dataclasses.replace(
      made[tokens[0]],
      config={"datasets": [dict(m.config) for m in made.values()]},
    ),
    examples={split: rows(split) for split in splits},
  )
  return {split: len(records) for split, records in joined.items()}


def main(argv: Sequence[str] | None = None) -> int:
  """The program; returns its exit status."""
  summary, _, details = (__doc__ or "").partition("\n")
  parser = argparse.ArgumentParser(
    prog="python -m soundstorm_jax.pack",
    description=summary,
    epilog=details,
    formatter_class=argparse.RawDescriptionHelpFormatter,
  )
  parser.add_argument(
    "--tokens",
    type=listed_names,
    required=True,
    help="folders of datasets, comma-separated",
  )
  parser.add_argument("--output", required=True, help="FILE.safetensors")
  args = parser.parse_args(argv)
  counts = pack(args.tokens, args.output)
  found = ", ".join(f"{count} in {name}" for name, count in counts.items())
  print(f"{args.output}: {found}")
  return 0


if __name__ == "__main__":
  sys.exit(main())
