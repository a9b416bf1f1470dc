"""Finds the phones of recordings by forced alignment with their transcripts.

  python -m soundstorm_jax.semantic.align --audio=LibriSpeech/dev-clean \\
    --output=phones.csv

Transcripts come from LibriSpeech's layout or from a manifest, as in
`soundstorm_jax.tokenize`. PocketSphinx aligns, by its American English model
and the CMU pronouncing dictionary; it comes with the extra 'eval'. A word that
the dictionary lacks is aligned by a guess from its letters, and its phones are
marked as unknown. A recording that does not fit its transcript is left out.
Training the semantic tokenizer and judging it read the file.
"""

import argparse
import re
from collections.abc import Callable, Sequence

import numpy as np
import tqdm
from jaxtyping import Float, Int

from soundstorm_jax.data import phones
from soundstorm_jax.data.audio_files import read_audio
from soundstorm_jax.data.utterances import find_utterances

_RATE = 16000
_STEP = _RATE // phones.STEPS_PER_SECOND

# A sound for every letter, and for pairs that make one of their own.
_SOUNDS = {
  **{"ch": "CH", "sh": "SH", "th": "TH", "ph": "F", "ng": "NG", "ck": "K"},
  **{"qu": "K W", "ee": "IY", "ea": "IY", "oo": "UW", "ou": "AW", "ow": "OW"},
  **{"ai": "EY", "ay": "EY", "oi": "OY", "oy": "OY", "au": "AO", "aw": "AO"},
  **{"er": "ER", "a": "AE", "b": "B", "c": "K", "d": "D", "e": "EH", "f": "F"},
  **{"g": "G", "h": "HH", "i": "IH", "j": "JH", "k": "K", "l": "L", "m": "M"},
  **{"n": "N", "o": "OW", "p": "P", "q": "K", "r": "R", "s": "S", "t": "T"},
  **{"u": "AH", "v": "V", "w": "W", "x": "K S", "y": "IY", "z": "Z"},
}
_SOUND = re.compile("|".join(sorted(_SOUNDS, key=len, reverse=True)))

# (audio at 16 kHz, transcript) -> phone numbers; None where it fails.
Aligner = Callable[[np.ndarray, str], Int[np.ndarray, "P"] | None]


def make_aligner() -> Aligner:
  """PocketSphinx.

  Raises:
    ImportError: it is not installed.
  """
  try:
    import pocketsphinx
  except ImportError as error:
    raise ImportError(
      "alignment needs the packages of the extra 'eval': "
      "pip install 'soundstorm-jax[eval]'"
    ) from error
  # The search for a best path can leave a word fewer frames than it has states.
  decoder = pocketsphinx.Decoder(
    samprate=_RATE, lm=None, bestpath=False, loglevel="FATAL"
  )
  guessed: set[str] = set()

  def align(audio: Float[np.ndarray, "N"], text: str) -> np.ndarray | None:
    words = normalise(text).split()
    if not words:
      return None
    for word in set(words):
      if decoder.lookup_word(word) is None:
        decoder.add_word(word, guess_sounds(word))
        guessed.add(word)
    pcm = np.round(np.clip(audio, -1, 1) * 32767).astype("<i2").tobytes()
    try:
      decoder.set_align_text(" ".join(words))
      _decode(decoder, pcm)
      # The first pass aligns words, the second their phones.
      decoder.set_alignment()
      _decode(decoder, pcm)
      entries = [
        (phone.start, phone.duration, phone.name, word.name)
        for word in decoder.get_alignment()
        for phone in word
      ]
    except (RuntimeError, TypeError):
      return None
    numbers = np.full(-(-audio.size // _STEP), phones.SILENCE, np.int8)
    for start, duration, name, word in entries:
      if word in guessed:
        numbers[start : start + duration] = phones.UNKNOWN
      elif name in phones.PHONES:
        numbers[start : start + duration] = phones.PHONES.index(name)
    return numbers

  return align


def _decode(decoder, pcm: bytes) -> None:
  decoder.start_utt()
  decoder.process_raw(pcm, full_utt=True)
  decoder.end_utt()


def guess_sounds(word: str) -> str:
  """Phones by a letter's usual sound; good enough to find where a word ends."""
  sounds = _SOUND.findall(word.removesuffix("e") or word)
  return " ".join(_SOUNDS[sound] for sound in sounds)


def normalise(text: str) -> str:
  """Words as the dictionary has them: lower case, apostrophes inside."""
  text = re.sub(r"[^a-z' ]+", " ", text.lower().replace("\u2019", "'"))
  return " ".join(filter(None, (word.strip("'") for word in text.split())))


def main(argv: Sequence[str] | None = None) -> None:
  """Reads the flags and aligns."""
  summary, _, details = (__doc__ or "").partition("\n")
  parser = argparse.ArgumentParser(
    prog="python -m soundstorm_jax.semantic.align",
    description=summary,
    epilog=details,
    formatter_class=argparse.RawDescriptionHelpFormatter,
  )
  add = parser.add_argument
  add("--audio", required=True, help="folder of recordings")
  add("--manifest", default="", help="CSV instead of a layout")
  add("--output", required=True, help="CSV file to write")
  args = parser.parse_args(argv)
  align = make_aligner()
  utterances = find_utterances(args.audio, manifest=args.manifest)
  found = {}
  for utterance in tqdm.tqdm(utterances, unit="recording"):
    numbers = align(read_audio(utterance.path, _RATE), utterance.text)
    if numbers is not None:
      found[utterance.id] = numbers
  phones.write_phones(args.output, found.items())
  print(f"{args.output}: {len(found)} of {len(utterances)} recordings")


if __name__ == "__main__":
  main()
