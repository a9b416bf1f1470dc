"""The benchmark's figures: rows, ratios, and both as text and as JSON."""

import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from soundstorm_jax.benchmarking.clock import Peak, Times
from soundstorm_jax.benchmarking.systems import SOUNDSTORM, SYSTEMS, Prepared

JSON, PLOT = "report.json", "plot.png"
_GIBI = 1024**3


class Decoding(NamedTuple):
  """The codec's decoder for one shape; all systems' tokens go through it."""

  compile_s: float
  times: Times


class Row(NamedTuple):
  """A system at a shape; times in seconds, memory in bytes.

  Attributes:
    system: one of `SYSTEMS`.
    seconds: of each utterance.
    batch_size: utterances generated at once.
    frames: of each.
    tokens: of all.
    audio_s: of all.
    passes: of the networks, one after another.
    compile_s: of the sampler.
    codec_compile_s: of the codec's decoder.
    sample_s: of the sampler: the median of the runs, or extrapolated.
    extrapolated: whether it was not run, and `sample_s` is `estimate_s`.
    warm: whether a run went before those that count.
    runs_s: of each run of the sampler.
    estimate_s: of the sampler, from steps timed alone; None for SoundStorm.
    codec_s: of the codec's decoder, the median of its runs.
    tokens_per_s: made by the sampler.
    audio_per_s: seconds of audio a second, the codec's work included.
    real_time_factor: its inverse; below 1 is faster than it sounds.
    program_bytes: of the compiled sampler: parameters, inputs, results and
      temporaries; None if the compiler does not tell.
    peak_process_bytes: see `Times`; None if not run.
    peak_device_bytes: likewise.
    flops: of all passes of the networks.
    peak_share: of the measured peak of products, over `sample_s`.
    parts: that `estimate_s` is the sum of.
  """

  system: str
  seconds: float
  batch_size: int
  frames: int
  tokens: int
  audio_s: float
  passes: int
  compile_s: float
  codec_compile_s: float
  sample_s: float
  extrapolated: bool
  warm: bool
  runs_s: tuple[float, ...]
  estimate_s: float | None
  codec_s: float
  tokens_per_s: float
  audio_per_s: float
  real_time_factor: float
  program_bytes: int | None
  peak_process_bytes: int | None
  peak_device_bytes: int | None
  flops: float
  peak_share: float
  parts: tuple[dict[str, Any], ...]


def make_row(
  system: str,
  prepared: Prepared,
  times: Times | None,
  *,
  decoding: Decoding,
  peak: Peak,
  seconds: float,
  batch_size: int,
  frames: int,
  frame_rate: int,
  levels: int,
) -> Row:
  """Puts together what was measured of a system at a shape.

  Args:
    system: one of `SYSTEMS`.
    prepared: what was compiled.
    times: of the sampler; None if it was not run.
    decoding: of the same shape.
    peak: of the device.
    seconds: of each utterance.
    batch_size: utterances.
    frames: of each.
    frame_rate: of the codec.
    levels: of its tokens.

  Raises:
    ValueError: there is nothing to take a time from.
  """
  estimate = prepared.estimate
  if times is None and estimate is None:
    raise ValueError(f"{system} was neither run nor estimated")
  sample_s = estimate.seconds if times is None else times.median_s
  codec_s = decoding.times.median_s
  audio_s = batch_size * frames / frame_rate
  tokens = batch_size * frames * levels
  return Row(
    system=system,
    seconds=seconds,
    batch_size=batch_size,
    frames=frames,
    tokens=tokens,
    audio_s=audio_s,
    passes=prepared.passes,
    compile_s=prepared.compile_s,
    codec_compile_s=decoding.compile_s,
    sample_s=sample_s,
    extrapolated=times is None,
    warm=times is None or times.warm,
    runs_s=() if times is None else times.runs_s,
    estimate_s=None if estimate is None else estimate.seconds,
    codec_s=codec_s,
    tokens_per_s=tokens / sample_s,
    audio_per_s=audio_s / (sample_s + codec_s),
    real_time_factor=(sample_s + codec_s) / audio_s,
    program_bytes=prepared.bytes,
    peak_process_bytes=None if times is None else times.peak_process_bytes,
    peak_device_bytes=None if times is None else times.peak_device_bytes,
    flops=prepared.flops,
    peak_share=prepared.flops / sample_s / peak.flops_per_s,
    parts=()
    if estimate is None
    else tuple(
      part._asdict() | {"each": part.each._asdict()} for part in estimate.parts
    ),
  )


class Ratio(NamedTuple):
  """AudioLM's time over SoundStorm's, of the samplers alone.

  Attributes:
    system: the form of AudioLM.
    seconds: of each utterance.
    batch_size: utterances at once.
    ratio: of the times.
    extrapolated: whether AudioLM's is.
  """

  system: str
  seconds: float
  batch_size: int
  ratio: float
  extrapolated: bool


def ratios(rows: Sequence[Row]) -> list[Ratio]:
  """Of every row of AudioLM that SoundStorm has one beside."""
  base = {
    (row.batch_size, row.seconds): row.sample_s
    for row in rows
    if row.system == SOUNDSTORM
  }
  return [
    Ratio(
      row.system,
      row.seconds,
      row.batch_size,
      row.sample_s / base[row.batch_size, row.seconds],
      row.extrapolated,
    )
    for row in rows
    if row.system != SOUNDSTORM and (row.batch_size, row.seconds) in base
  ]


class Report(NamedTuple):
  """A run of the benchmark.

  Attributes:
    settings: the program's.
    machine: what it ran on.
    parameters: of each system.
    peak: of the device.
    rows: in the order they were measured.
  """

  settings: Mapping[str, Any]
  machine: Mapping[str, Any]
  parameters: Mapping[str, int]
  peak: Peak
  rows: Sequence[Row]

  def notes(self) -> list[str]:
    """What one must know to read the figures."""
    steps, limit = self.settings["steps"], self.settings["limit_seconds"]
    notes = [
      "Weights are RANDOM: the speed is that of trained ones, the sound is "
      "noise.",
      "All systems: same device, dtype, semantic tokens and codec (which is in "
      "float32), no prompt, in turns in one process. Times are of the warm "
      "sampler; RTF and audio/s are with the codec.",
      "FLOPs: XLA counts a loop's body once, so they are those of one compiled "
      "pass, or of one step at each length of the cache, times their number; "
      "sampling itself and the codec are left out.",
      f"Peak: the best product of two square matrices in "
      f"{self.settings['dtype']} that was found, "
      f"{self.peak.flops_per_s / 1e9:.0f} GFLOP/s at {self.peak.size}.",
      "Memory: what the compiled sampler takes, with parameters.",
    ]
    if any(row.extrapolated for row in self.rows):
      notes.append(
        f"~ EXTRAPOLATED, as a run would take over {limit:g} s: {steps} steps "
        "(or as many as there are) were timed at each length that the cache "
        "has in the sampler, and multiplied by the steps there; prefills were "
        "timed too."
      )
    both = [
      row.estimate_s / row.sample_s
      for row in self.rows
      if row.estimate_s is not None and not row.extrapolated
    ]
    if both:
      notes.append(
        "Of what was run in full, the same extrapolation gives "
        f"{min(both):.2f} to {max(both):.2f} of the time measured."
      )
    if not all(row.warm for row in self.rows):
      notes.append(
        f"* A first run took over {limit:g} s, and is the only one; it may be "
        "slower than later ones."
      )
    return notes

  def to_json(self) -> dict[str, Any]:
    """Everything."""
    return {
      "random_weights": True,
      "settings": dict(self.settings),
      "machine": dict(self.machine),
      "parameters": dict(self.parameters),
      "peak": self.peak._asdict(),
      "rows": [row._asdict() for row in self.rows],
      "ratios": [ratio._asdict() for ratio in ratios(self.rows)],
      "notes": self.notes(),
    }

  def to_text(self) -> str:
    """Tables for people."""
    settings, machine = self.settings, self.machine
    head = [
      f"{settings['size']} in {settings['dtype']} on {machine['device']}, "
      f"{machine['cores']} CPU cores, jax {machine['jax']}; RANDOM weights",
      *(
        f"  {SYSTEMS[name]}: {count / 1e6:.1f}M parameters"
        for name, count in self.parameters.items()
      ),
    ]
    parts = ["\n".join(head), _table(_HEAD, [_cells(row) for row in self.rows])]
    if ratios(self.rows):
      parts.append(_ratio_table(ratios(self.rows)))
    return "\n\n".join([*parts, "\n".join(self.notes())])


def write_json(report: Report, folder: pathlib.Path) -> None:
  """Writes the figures into a folder that exists."""
  text = json.dumps(report.to_json(), indent=1) + "\n"
  (folder / JSON).write_text(text, "utf-8")


_HEAD = (
  *("system", "audio", "batch", "passes", "compiled", "median", "fastest"),
  *("slowest", "tokens/s", "audio/s", "RTF", "memory", "GFLOP", "of peak"),
)


def _cells(row: Row) -> list[str]:
  mark = "~" if row.extrapolated else "" if row.warm else "*"
  runs = [_seconds(end(row.runs_s)) if row.runs_s else "" for end in (min, max)]
  memory = row.program_bytes
  return [
    SYSTEMS[row.system],
    f"{row.seconds:g} s",
    str(row.batch_size),
    str(row.passes),
    f"{row.compile_s:.1f} s",
    mark + _seconds(row.sample_s),
    *runs,
    f"{row.tokens_per_s:.0f}",
    f"{row.audio_per_s:.3g}",
    f"{row.real_time_factor:.3g}",
    "" if memory is None else f"{memory / _GIBI:.2f} GiB",
    f"{row.flops / 1e9:.3g}",
    f"{100 * row.peak_share:.2g} %",
  ]


def _ratio_table(found: Sequence[Ratio]) -> str:
  """A row a shape, a column for each form of AudioLM."""
  systems = [name for name in SYSTEMS if name in {r.system for r in found}]
  cells = {
    (r.batch_size, r.seconds, r.system): f"{'~' * r.extrapolated}{r.ratio:.3g}"
    for r in found
  }
  shapes = list(dict.fromkeys((r.batch_size, r.seconds) for r in found))
  head = ["audio", "batch", *(SYSTEMS[name] for name in systems)]
  rows = [
    [
      f"{seconds:g} s",
      str(batch),
      *(cells.get((batch, seconds, name), "") for name in systems),
    ]
    for batch, seconds in shapes
  ]
  return "Time of AudioLM over that of SoundStorm:\n" + _table(head, rows)


def _seconds(value: float) -> str:
  return f"{value:.2f} s" if value >= 1 else f"{1000 * value:.1f} ms"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
  """Columns, as wide as they must be; the first to the left."""
  lines = [list(head), *map(list, rows)]
  widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
  return "\n".join(
    "  ".join(
      cell.rjust(width) if number else cell.ljust(width)
      for number, (cell, width) in enumerate(zip(line, widths, strict=True))
    ).rstrip()
    for line in lines
  )
