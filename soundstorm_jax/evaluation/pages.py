"""Pages: their templates, and the one that a report is listened to with.

Axes: N samples.
"""

import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import jinja2
import numpy as np
import soundfile
from jaxtyping import Float

from soundstorm_jax.evaluation import summary

JSON, PAGE = "evaluation.json", "index.html"


def template(name: str, *folders: pathlib.Path) -> jinja2.Template:
  """A template of these folders; it may include those of this one."""
  return jinja2.Environment(
    loader=jinja2.FileSystemLoader([*folders, pathlib.Path(__file__).parent]),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
  ).get_template(name)


def audio_name(row: str, utterance: str) -> str:
  """Where the audio of a row lies in the folder of a report."""
  return f"{row}/{utterance}.flac"


def write_report(
  output: str | pathlib.Path,
  report: Mapping[str, Any],
  rows: Mapping[str, Sequence[Float[np.ndarray, "_"]]],
  *,
  sample_rate: int,
  facts: Mapping[str, str],
) -> None:
  """Writes the report, the audio, and a page of both.

  Args:
    output: folder, made if need be.
    report: `summary.summarise`'s, with `settings`.
    rows: the audio, in the order of the report's utterances.
    sample_rate: of the audio.
    facts: what it was made with.
  """
  output = pathlib.Path(output)
  output.mkdir(parents=True, exist_ok=True)
  (output / JSON).write_text(json.dumps(report, indent=1) + "\n", "utf-8")
  by_utterance: dict[str, list] = {}
  for entry in report["utterances"]:
    by_utterance.setdefault(entry["utterance"], []).append(entry)
  for number, of_utterance in enumerate(by_utterance.values()):
    for entry in of_utterance:
      path = output / entry["audio"]
      path.parent.mkdir(parents=True, exist_ok=True)
      audio = rows[entry["row"]][number].clip(-1, 1)
      soundfile.write(path, audio, sample_rate, subtype="PCM_16")
  page = template("listen.html.j2").render(
    table=summary.tabulate(report),
    prompt_seconds=report["settings"]["prompt_seconds"],
    utterances=[
      _listing(name, of_utterance, report)
      for name, of_utterance in by_utterance.items()
    ],
    facts=facts,
  )
  (output / PAGE).write_text(page, "utf-8")


def _listing(
  name: str, entries: Sequence[Mapping[str, Any]], report: Mapping[str, Any]
) -> dict[str, Any]:
  """An utterance as the page shows it."""

  def scores(entry: Mapping[str, Any]) -> str:
    return ", ".join(
      f"{column['title']} {total / count:.{column['digits']}f}"
      for key, column in report["columns"].items()
      for total, count in [entry["scores"].get(key, (0, 0))]
      if count
    )

  def voice(entry: Mapping[str, Any]) -> str:
    """The recording of a voice that is not the utterance's own."""
    if entry["voice"] == name:
      return ""
    return audio_name(summary.ORIGINAL, entry["voice"])

  return {
    "id": name,
    "speaker": entries[0]["speaker"],
    "seconds": entries[0]["seconds"],
    "text": entries[0]["text"].capitalize(),
    "entries": [
      {
        "title": report["rows"][entry["row"]],
        "audio": entry["audio"],
        "heard": entry["heard"],
        "scores": scores(entry),
        "voice": voice(entry),
      }
      for entry in entries
    ],
  }
