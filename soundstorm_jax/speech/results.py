"""What requests give, as files, and which of them an earlier run has met.

A request's files are OUTPUT/ID.wav and OUTPUT/ID.npz (semantic, acoustic), each
whole or not there at all; then OUTPUT/results.jsonl gets its line.

Axes: S semantic tokens, T frames, Q levels.
"""

import json
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import soundfile

from soundstorm_jax.speech.jobs import Job
from soundstorm_jax.speech.requests import Generated, Request

RESULTS = "results.jsonl"


class Results:
  """A folder of results.

  Args:
    output: the folder, made if need be.
    settings: that all results are made with, by name, as JSON has them; every
      line says them.
    sample_rate: of the audio, in Hz.
  """

  def __init__(
    self,
    output: str | pathlib.Path,
    *,
    settings: Mapping[str, Any],
    sample_rate: int,
  ):
    self._output = pathlib.Path(output)
    self._output.mkdir(parents=True, exist_ok=True)
    self._settings = dict(settings)
    self._sample_rate = sample_rate

  def completed(self, jobs: Sequence[Job]) -> set[str]:
    """The ids of the jobs that an earlier run has met.

    Raises:
      ValueError: a result of one of them is of another request or of other
        settings.
    """
    path = self._output / RESULTS
    if not path.exists():
      return set()
    text = path.read_text("utf-8")
    # An interruption may have left half a line.
    whole = text[: text.rfind("\n") + 1]
    if whole != text:
      os.truncate(path, len(whole.encode()))
    lines = {}
    for line in whole.splitlines():
      values = json.loads(line)
      lines[values["id"]] = values
    done = set()
    for job in jobs:
      line = lines.get(job.id)
      if line is None:
        continue
      for name, value in (job._asdict() | self._settings).items():
        if line[name] != value:
          raise ValueError(
            f"{path} has {job.id!r} with {name}={line[name]!r}, not {value!r}; "
            "choose another output"
          )
      if all(self._file(job, suffix).exists() for suffix in ("wav", "npz")):
        done.add(job.id)
    return done

  def write(self, job: Job, request: Request, result: Generated) -> None:
    """Writes the two files of a job that is met; then the line."""
    wav, tokens = (self._file(job, suffix) for suffix in ("wav", "npz"))
    wav.parent.mkdir(parents=True, exist_ok=True)
    partial = wav.with_name(wav.name + ".partial")
    soundfile.write(partial, result.audio, self._sample_rate, format="WAV")
    partial.replace(wav)
    with partial.open("wb") as file:
      np.savez(file, semantic=request.semantic, acoustic=result.acoustic)
    partial.replace(tokens)
    times = result.times
    line = {
      **job._asdict(),
      "wav": wav.relative_to(self._output).as_posix(),
      "tokens": tokens.relative_to(self._output).as_posix(),
      "seconds": len(result.audio) / self._sample_rate,
      "frames": len(result.acoustic),
      "prompt_frames": result.prompt_frames,
      "bucket": result.bucket,
      # Times are of the batch, which these requests shared.
      "batch": {
        **times._asdict(),
        "run_s": times.run_s,
        "real_time_factor": times.real_time_factor,
      },
      **self._settings,
    }
    with (self._output / RESULTS).open("a", encoding="utf-8") as file:
      file.write(json.dumps(line) + "\n")

  def _file(self, job: Job, suffix: str) -> pathlib.Path:
    return self._output / f"{job.id}.{suffix}"
