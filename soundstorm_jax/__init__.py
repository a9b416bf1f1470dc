"""SoundStorm in JAX: parallel generation of speech, and its training.

  model = soundstorm_jax.load()
  audio = model.generate(semantic, prompt=voice, seed=0)

Importing the package imports nothing else; the names below do when first used.
"""

import importlib
from typing import Any

__version__ = "0.1.0"

# Where each of them is.
_API = {
  "AudioLMModel": "speech.audiolm",
  "Generated": "speech.requests",
  "Request": "speech.requests",
  "SpeechModel": "speech.model",
  "SpeechTokens": "speech.requests",
  "Times": "speech.requests",
  "load": "speech.loading",
  "load_audiolm": "speech.loading",
}

__all__ = ["__version__", *_API]


def __getattr__(name: str) -> Any:
  if name not in _API:
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
  return getattr(importlib.import_module(f"{__name__}.{_API[name]}"), name)


def __dir__() -> list[str]:
  return sorted({*globals(), *_API})
