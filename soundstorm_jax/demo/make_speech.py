"""Makes the demo's speech: the sentences of `speech/manifest.csv`, spoken.

The recordings under `soundstorm_jax/demo/speech` are synthetic, so that they
can be given away: our own sentences, read by eight voices of Kokoro, at 16 kHz
mono in Ogg Vorbis. `make demo` only reads them; this program is needed again
only when a sentence or a voice changes. Once data/kokoro.py's packages are
there:

    python -m soundstorm_jax.demo.make_speech --kokoro=package/build
"""

import argparse
import csv
import pathlib
from collections.abc import Sequence

import soundfile

from soundstorm_jax.data.kokoro import Kokoro
from soundstorm_jax.data.synthetic import SAMPLE_RATE

_SPEECH = pathlib.Path(__file__).parent / "speech"
_SPEED = 0.93


def main(argv: Sequence[str] | None = None) -> None:
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--kokoro", type=pathlib.Path, required=True)
  args = parser.parse_args(argv)
  kokoro = Kokoro(args.kokoro)
  with open(_SPEECH / "manifest.csv", encoding="utf-8", newline="") as file:
    rows = list(csv.DictReader(file))
  for row in rows:
    audio = kokoro.speak(row["text"], voice=row["speaker"], speed=_SPEED)
    path = _SPEECH / row["path"]
    path.parent.mkdir(exist_ok=True)
    soundfile.write(path, audio, SAMPLE_RATE, compression_level=0.2)
    print(f"{row['path']}: {len(audio) / SAMPLE_RATE:.1f} s")


if __name__ == "__main__":
  main()
