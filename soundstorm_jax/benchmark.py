"""How fast this machine generates: time, memory and real-time factor.

  python -m soundstorm_jax.benchmark --size=paper --seconds=30

The weights are random: they take as long as trained ones, and make noise. One
generation without a prompt, by the sampler that `generate` uses: 16 passes of
the network at the first level, one at each other (SoundStorm, arXiv 2305.09636,
section 2.3), then the codec's decoder. Compilation is timed apart.

The last line of the output is the same as JSON.
"""

import argparse
import dataclasses
import json
import os
import resource
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from soundstorm_jax.api import default_sampler
from soundstorm_jax.config import (
  ConformerConfig,
  SoundStormConfig,
  SoundStreamConfig,
)
from soundstorm_jax.models.codec import Codec
from soundstorm_jax.models.soundstorm import SoundStorm
from soundstorm_jax.models.soundstream import SoundStream
from soundstorm_jax.sampling.soundstorm import make_sampler


class Size(NamedTuple):
  """A model and its codec."""

  model: SoundStormConfig
  codec: SoundStreamConfig


# As in configs/tiny.py, small.py and librilight.py, and soundstream.py.
SIZES = {
  "tiny": Size(
    SoundStormConfig(
      semantic_vocab=500,
      conformer=ConformerConfig(
        dim=64, layers=2, heads=2, ff_dim=128, scan_layers=False
      ),
    ),
    SoundStreamConfig(encoder_channels=2, decoder_channels=2, dim=8),
  ),
  "small": Size(
    SoundStormConfig(
      semantic_vocab=500,
      conformer=ConformerConfig(
        dim=128, layers=4, heads=4, ff_dim=512, scan_layers=False
      ),
    ),
    SoundStreamConfig(source_filter=True, dim=50, decoder_channels=256),
  ),
  "paper": Size(
    SoundStormConfig(),
    SoundStreamConfig(encoder_channels=32, decoder_channels=32, dim=128),
  ),
}


class Speed(NamedTuple):
  """What was measured; times in seconds, memory in bytes.

  Attributes:
    parameters: of SoundStorm.
    batch_size: utterances generated at once.
    frames: of each.
    tokens: of all.
    audio_s: of all.
    passes: of SoundStorm's network.
    compile_s: of the sampler and the codec's decoder.
    sample_s: of the sampler, the median of the runs.
    pass_s: of one pass.
    codec_s: of the codec's decoder, the median of the runs.
    tokens_per_s: made by the sampler.
    real_time_factor: sampler and codec over `audio_s`; below 1 is faster than
      it sounds.
    peak_rss: of this process, with all it imported and compiled.
    peak_rss_before_run: the same, before the first run.
    peak_device: of the first device; None where it does not count, as on CPU.
    runs_s: of the sampler, each.
  """

  parameters: int
  batch_size: int
  frames: int
  tokens: int
  audio_s: float
  passes: int
  compile_s: float
  sample_s: float
  pass_s: float
  codec_s: float
  tokens_per_s: float
  real_time_factor: float
  peak_rss: int
  peak_rss_before_run: int
  peak_device: int | None
  runs_s: tuple[float, ...]


def benchmark(
  size: Size, *, seconds: float, batch_size: int = 1, repeats: int = 1
) -> Speed:
  """Times generation with random weights.

  Args:
    size: of the model and its codec.
    seconds: of each utterance.
    batch_size: utterances generated at once.
    repeats: runs; medians are reported.

  Raises:
    ValueError: less than a frame, or batch_size or repeats below 1.
  """
  model, codec_config = size
  frames = round(seconds * codec_config.frame_rate)
  for name, value in {
    "seconds in frames": frames,
    "batch_size": batch_size,
    "repeats": repeats,
  }.items():
    if value < 1:
      raise ValueError(f"{name} must be at least 1, got {value}")
  sampler = default_sampler(model.levels)
  rng = np.random.default_rng(0)
  params = random_soundstorm(model, rng=rng)
  audio = jax.ShapeDtypeStruct((1, 2 * codec_config.hop), jnp.float32)
  books = (codec_config.levels, codec_config.codes, codec_config.dim)
  codec = Codec(
    codec_config,
    params=_random_params(SoundStream(codec_config).init, (audio,), rng=rng),
    codebooks=jnp.asarray(rng.standard_normal(books, np.float32)),
  )

  semantic = rng.integers(
    0, model.semantic_vocab, (batch_size, frames), np.int32
  )
  arguments: dict[str, Any] = {
    "prompt": np.zeros((batch_size, frames, model.levels), np.int32),
    "prompt_length": np.zeros(batch_size, np.int32),
    "length": np.full(batch_size, frames, np.int32),
    "keys": jax.random.split(
      jax.random.key(0, impl="threefry2x32"), batch_size
    ),
  }
  began = time.perf_counter()
  sample = (
    make_sampler(model, sampler)
    .lower({"params": params}, semantic, **arguments)
    .compile()
  )
  decode = codec.compile_decode(batch_size, frames=frames, levels=model.levels)
  compile_s = time.perf_counter() - began
  before = _peak_rss()

  sampling, decoding = [], []
  for _ in range(repeats):
    made, elapsed = _time(
      lambda: sample({"params": params}, semantic, **arguments)
    )
    sampling.append(elapsed)
    decoding.append(_time(lambda made=made: decode(made))[1])
  sample_s = statistics.median(sampling)
  codec_s = statistics.median(decoding)
  audio_s = batch_size * frames / codec_config.frame_rate
  count = batch_size * frames * model.levels
  return Speed(
    parameters=sum(leaf.size for leaf in jax.tree.leaves(params)),
    batch_size=batch_size,
    frames=frames,
    tokens=count,
    audio_s=audio_s,
    passes=sampler.passes,
    compile_s=compile_s,
    sample_s=sample_s,
    pass_s=sample_s / sampler.passes,
    codec_s=codec_s,
    tokens_per_s=count / sample_s,
    real_time_factor=(sample_s + codec_s) / audio_s,
    peak_rss=_peak_rss(),
    peak_rss_before_run=before,
    peak_device=(jax.devices()[0].memory_stats() or {}).get(
      "peak_bytes_in_use"
    ),
    runs_s=tuple(sampling),
  )


def random_soundstorm(
  model: SoundStormConfig, *, rng: np.random.Generator
) -> Any:
  """SoundStorm's parameters at random."""
  row = jax.ShapeDtypeStruct((1, 1), jnp.int32)
  tokens = jax.ShapeDtypeStruct((1, 1, model.levels), jnp.int32)
  return _random_params(
    lambda key, tokens, row: SoundStorm(model).init(
      key, tokens, row, None, level=0
    ),
    (tokens, row),
    rng=rng,
  )


def _random_params(
  init: Callable[..., Any],
  inputs: tuple[jax.ShapeDtypeStruct, ...],
  *,
  rng: np.random.Generator,
) -> Any:
  """Parameters leaf by leaf: beside them, memory holds one leaf at most."""
  shapes = nn.unbox(jax.eval_shape(init, jax.random.key(0), *inputs))

  def fill(path: tuple, leaf: jax.ShapeDtypeStruct) -> jax.Array:
    name = path[-1].key
    if name in ("bias", "scale"):
      return jnp.full(leaf.shape, float(name == "scale"), leaf.dtype)
    values = rng.standard_normal(leaf.shape, np.float32)
    values /= np.float32(max(1, leaf.shape[-2]) ** 0.5)
    return jax.block_until_ready(jnp.asarray(values, leaf.dtype))

  return jax.tree_util.tree_map_with_path(fill, shapes["params"])


def _time(run: Callable[[], jax.Array]) -> tuple[jax.Array, float]:
  began = time.perf_counter()
  result = jax.block_until_ready(run())
  return result, time.perf_counter() - began


def _peak_rss() -> int:
  """The most memory this process has had, in bytes."""
  peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
  # Linux counts kibibytes, macOS bytes.
  return peak if sys.platform == "darwin" else 1024 * peak


def report(speed: Speed) -> str:
  """The figures for people."""
  gibibytes = 1024**3
  lines = [
    ("compilation", f"{speed.compile_s:.1f} s"),
    (
      f"{speed.passes} passes",
      f"{speed.sample_s:.2f} s, {speed.pass_s:.3f} s each",
    ),
    ("codec", f"{speed.codec_s:.2f} s"),
    ("tokens a second", f"{speed.tokens_per_s:.0f}"),
    ("real-time factor", f"{speed.real_time_factor:.3f}"),
    (
      "peak memory",
      f"{speed.peak_rss / gibibytes:.2f} GiB, before the first run "
      f"{speed.peak_rss_before_run / gibibytes:.2f} GiB",
    ),
  ]
  if speed.peak_device is not None:
    lines.append(("on the device", f"{speed.peak_device / gibibytes:.2f} GiB"))
  head = (
    f"{speed.audio_s:g} s of audio: {speed.batch_size} x {speed.frames} frames,"
    f" {speed.tokens} tokens; RANDOM weights, {speed.parameters / 1e6:.1f}M "
    "parameters"
  )
  return "\n".join([head] + [f"  {name:17} {text}" for name, text in lines])


def main(argv: Sequence[str] | None = None) -> None:
  """The program."""
  summary, _, details = (__doc__ or "").partition("\n")
  parser = argparse.ArgumentParser(
    prog="python -m soundstorm_jax.benchmark",
    description=summary,
    epilog=details,
    formatter_class=argparse.RawDescriptionHelpFormatter,
  )
  add = parser.add_argument
  add("--size", default="small", choices=list(SIZES))
  add("--seconds", type=float, default=30.0, help="of each utterance")
  add("--batch_size", type=int, default=1)
  add("--repeats", type=int, default=1, help="runs; medians are reported")
  add("--dtype", default="float32", choices=["float32", "bfloat16"])
  args = parser.parse_args(argv)
  model, codec = SIZES[args.size]
  conformer = dataclasses.replace(model.conformer, dtype=args.dtype)
  size = Size(dataclasses.replace(model, conformer=conformer), codec)
  speed = benchmark(
    size,
    seconds=args.seconds,
    batch_size=args.batch_size,
    repeats=args.repeats,
  )
  machine = {
    "device": jax.devices()[0].device_kind,
    "cores": len(os.sched_getaffinity(0))
    if hasattr(os, "sched_getaffinity")
    else os.cpu_count(),
    "jax": jax.__version__,
  }
  print(
    f"SoundStorm {args.size} in {args.dtype} on {machine['device']}, "
    f"{machine['cores']} CPU cores, jax {machine['jax']}"
  )
  print(report(speed))
  print(
    json.dumps(
      {"size": args.size, "dtype": args.dtype, "random_weights": True}
      | machine
      | speed._asdict()
    )
  )


if __name__ == "__main__":
  main()
