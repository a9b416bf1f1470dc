"""Who reads what: sentences cut from text, dealt to voices."""

import dataclasses
import pathlib
import re
from collections.abc import Collection, Sequence

import numpy as np

from soundstorm_jax.data.utterances import find_utterances

# Characters of a sentence: about 3 to 11 seconds of Kokoro at its own speed.
SHORTEST = 45
LONGEST = 150
SPEEDS = (0.85, 1.15)

# What is spoken as it is spelt: no digits, no abbreviations' symbols.
_PLAIN = re.compile(r"[A-Za-z' ,.;:!?-]+")
_SENTENCE_END = re.compile(r"(?<=[.!?;:])\s+")
# Apostrophes, straight and curly, are kept as one; quotation marks are not.
_QUOTES = str.maketrans("\u2019\u2018", "''", '"\u201c\u201d')


@dataclasses.dataclass(frozen=True)
class Reading:
  """A sentence to be read.

  Attributes:
    voice: who reads it.
    number: of the voice's readings, from 0.
    text: as the voice is to read it.
    speed: 1 is the voice's own.
  """

  voice: str
  number: int
  text: str
  speed: float

  @property
  def transcript(self) -> str:
    """The words alone, in capitals, as LibriSpeech writes them."""
    return " ".join(re.findall(r"[A-Z']+", self.text.upper()))


def read_sentences(
  source: str | pathlib.Path, *, held_out_speakers: Collection[str] = ()
) -> list[str]:
  """The sentences of a text, each once.

  Args:
    source: a text file, or a folder of *.txt files, with paragraphs between
      empty lines; or a folder of recordings with LibriSpeech's transcripts.
    held_out_speakers: of those recordings, whose transcripts are left out.

  Raises:
    ValueError: no such text, nothing in it that can be read aloud, or unknown
      speakers.
  """
  source = pathlib.Path(source)
  if source.is_dir() and any(source.rglob("*.trans.txt")):
    utterances = find_utterances(source, held_out_speakers=held_out_speakers)
    kept = {u.text for u in utterances if u.split == "train"}
    # A sentence that a held-out speaker reads too is theirs.
    kept -= {u.text for u in utterances if u.split == "test"}
    paragraphs = [u.text for u in utterances if u.text in kept]
  elif held_out_speakers:
    raise ValueError(
      f"held_out_speakers need a folder with transcripts, got {source}"
    )
  elif source.is_dir() or source.is_file():
    files = sorted(source.rglob("*.txt")) if source.is_dir() else [source]
    paragraphs = [
      paragraph
      for file in files
      for paragraph in re.split(r"\n\s*\n", file.read_text("utf-8"))
    ]
  else:
    raise ValueError(f"no such text: {source}")
  found = dict.fromkeys(s for p in paragraphs for s in cut(p))
  if not found:
    raise ValueError(
      f"no sentence of {SHORTEST} to {LONGEST} plain characters in {source}"
    )
  return list(found)


def cut(paragraph: str) -> list[str]:
  """Pieces of `SHORTEST` to `LONGEST` characters, ready to be spoken.

  Short sentences are joined, long ones halved between words. What is left too
  short is dropped, and so is a piece with digits or signs, whose words the
  transcript would not tell. A text all in capitals is turned to lower case.
  """
  text = " ".join(paragraph.translate(_QUOTES).split())
  if text.isupper():
    text = text.lower()
  pieces: list[str] = []
  for sentence in _SENTENCE_END.split(text):
    for piece in _halve(sentence):
      joined = f"{pieces[-1]} {piece}" if pieces else ""
      if joined and len(pieces[-1]) < SHORTEST and len(joined) <= LONGEST:
        pieces[-1] = joined
      else:
        pieces.append(piece)
  return [
    # Without a mark at the end the voice does not come to rest.
    piece if piece[-1] in ".!?;:," else piece + "."
    for piece in pieces
    if len(piece) >= SHORTEST and _PLAIN.fullmatch(piece)
  ]


def _halve(text: str) -> list[str]:
  if len(text) <= LONGEST:
    return [text]
  spaces = [match.start() for match in re.finditer(" ", text)]
  if not spaces:
    return []
  middle = min(spaces, key=lambda i: abs(i - len(text) / 2))
  return _halve(text[:middle]) + _halve(text[middle + 1 :])


def deal(
  sentences: Sequence[str], voices: Sequence[str], *, readings: int, seed: int
) -> list[Reading]:
  """Deals every sentence to `readings` different voices.

  All sentences are dealt once before any is dealt again. The voices take turns,
  so that any beginning of the result is spread evenly over them; with more
  readings the result goes on where it ended with fewer.

  Args:
    sentences: at least one, shuffled here.
    voices: at least as many as `readings`, shuffled here.
    readings: of each sentence.
    seed: of the order and of the speeds, which are uniform in `SPEEDS`.

  Raises:
    ValueError: no sentences, or `readings` outside 1 to the number of voices.
  """
  if not sentences:
    raise ValueError("sentences must not be empty")
  if not 1 <= readings <= len(voices):
    raise ValueError(
      f"readings must be between 1 and {len(voices)}, the number of voices, "
      f"got {readings}"
    )
  rng = np.random.default_rng(seed)
  turns = rng.permutation(np.array(voices)).tolist()
  order = rng.permutation(len(sentences)).tolist()
  counts = dict.fromkeys(voices, 0)
  dealt = []
  for again in range(readings):
    speeds = rng.uniform(*SPEEDS, size=len(order))
    for turn, (index, speed) in enumerate(zip(order, speeds, strict=True)):
      voice = turns[(turn + again) % len(turns)]
      dealt.append(
        Reading(voice, counts[voice], sentences[index], round(float(speed), 3))
      )
      counts[voice] += 1
  return dealt
