"""Generates speech for a token dataset, or for recordings in other voices.

  python -m soundstorm_jax.generate --output=out --tokens=tokens/demo \\
    --split=test --continuation
  python -m soundstorm_jax.generate --output=out --audio=talk.wav \\
    --prompt_audio=voice.wav
  python -m soundstorm_jax.generate --output=out --manifest=pairs.csv

Content is what is said: the records of a token dataset, or audio. Voices are
prompts: --prompt_audio for all, the start of each recording itself with
--continuation (the rest is generated), or a manifest's column. A manifest is
CSV with the columns content and, if wanted, prompt, seed and id; it names
records of --tokens, or audio files relative to itself.

Each request gives OUTPUT/ID.wav, OUTPUT/ID.npz (semantic, acoustic) and a line
of OUTPUT/results.jsonl. Run it again and it does what is missing. A request
that cannot be met is reported and left out; more than --max_failed of them make
the exit status 1.

Axes: S semantic tokens, T frames, Q levels.
"""

import argparse
import collections
import json
import pathlib
import sys
from collections.abc import Sequence
from typing import NamedTuple

import tqdm

from soundstorm_jax.config import to_mapping
from soundstorm_jax.soundstorm.config import SamplerConfig
from soundstorm_jax.speech import sampling_flags
from soundstorm_jax.speech.jobs import (
  AudioLibrary,
  Job,
  Library,
  TokenLibrary,
  audio_jobs,
  check_ids,
  manifest_jobs,
)
from soundstorm_jax.speech.layout import lay_out, split_tokens
from soundstorm_jax.speech.loading import load
from soundstorm_jax.speech.model import SpeechModel
from soundstorm_jax.speech.requests import Request, SpeechTokens
from soundstorm_jax.speech.results import Results


class Summary(NamedTuple):
  """What a run did.

  Attributes:
    written: requests met.
    skipped: met by an earlier run.
    failed: why others could not be met, by id.
    audio_s: seconds of audio written.
    compile_s: seconds of compilation.
    run_s: seconds of everything else that the models did.
  """

  written: int
  skipped: int
  failed: dict[str, str]
  audio_s: float
  compile_s: float
  run_s: float


def generate(
  jobs: Sequence[Job],
  output: str | pathlib.Path,
  *,
  model: SpeechModel,
  content: Library,
  voices: Library | None = None,
  prompt_seconds: float = 3.0,
  continuation: bool = False,
  sampler: SamplerConfig | None = None,
) -> Summary:
  """Meets requests, in batches of like length, and writes what they give.

  Args:
    jobs: the requests.
    output: folder, made if need be.
    model: with its batch size.
    content: has the jobs' contents.
    voices: has their prompts; `content` if None.
    prompt_seconds: the start of a prompt that is used, or less if it is
      shorter.
    continuation: the start of each content is its prompt, and the rest is
      generated.
    sampler: other settings than the model's own.

  Raises:
    ValueError: two jobs have one id, an id leads out of the folder, or the
      folder holds results of other settings.
  """
  sampler = sampler or model.sampler
  check_ids(jobs)
  if not prompt_seconds > 0:
    raise ValueError(f"prompt_seconds must be above 0, got {prompt_seconds}")
  settings = {
    "weights": model.fingerprints,
    "sampler": json.loads(json.dumps(to_mapping(sampler))),
    "prompt_seconds": prompt_seconds,
    "continuation": continuation,
  }
  results = Results(output, settings=settings, sample_rate=model.sample_rate)
  done = results.completed(jobs)
  failed: dict[str, str] = {}
  pending: dict[int, list[tuple[Job, Request]]] = collections.defaultdict(list)
  prompts: dict[str, SpeechTokens] = {}
  times = []
  bar = tqdm.tqdm(total=len(jobs), initial=len(done), unit="request")

  def voice(name: str) -> SpeechTokens:
    if name not in prompts:
      tokens = (voices or content).tokens(name)
      prompts[name] = split_tokens(tokens, prompt_seconds, model.limits)[0]
    return prompts[name]

  def flush(batch: list[tuple[Job, Request]]) -> None:
    made = model.generate_batch([r for _, r in batch], sampler=sampler)
    times.append(made[0].times)
    for (job, request), result in zip(batch, made, strict=True):
      results.write(job, request, result)
    bar.update(len(batch))
    batch.clear()

  with bar:
    for job in jobs:
      if job.id in done:
        continue
      try:
        tokens = content.tokens(job.content)
        if continuation:
          prompt, tokens = split_tokens(tokens, prompt_seconds, model.limits)
        else:
          prompt = voice(job.prompt) if job.prompt else None
        request = Request(
          tokens.semantic, prompt, seed=job.seed, frames=len(tokens.acoustic)
        )
        bucket = lay_out(request, model.limits).bucket
      except ValueError as error:
        tqdm.tqdm.write(f"{job.id} left out: {error}", file=sys.stderr)
        failed[job.id] = str(error)
        continue
      pending[bucket].append((job, request))
      if len(pending[bucket]) == model.batch_size:
        flush(pending[bucket])
    for batch in pending.values():
      if batch:
        flush(batch)
  return Summary(
    written=sum(t.requests for t in times),
    skipped=len(done),
    failed=failed,
    audio_s=sum(t.audio_s for t in times),
    compile_s=sum(t.compile_s for t in times),
    run_s=sum(t.run_s for t in times),
  )


def _parser() -> argparse.ArgumentParser:
  summary, _, details = (__doc__ or "").partition("\n")
  parser = argparse.ArgumentParser(
    prog="python -m soundstorm_jax.generate",
    description=summary,
    epilog=details,
    formatter_class=argparse.RawDescriptionHelpFormatter,
  )
  add = parser.add_argument
  add("--output", required=True, help="folder of the results")
  add("--weights", help="folder; the shipped small weights if not given")
  add("--tokens", help="token dataset")
  add("--split", default="test", help="of the token dataset")
  add("--audio", action="append", default=[], help="file or folder; repeatable")
  add("--manifest", help="CSV file")
  add("--prompt_audio", default="", help="the voice for all requests")
  add("--prompt_seconds", type=float, default=3.0, help="of a prompt, used")
  add("--continuation", action="store_true", help="prompt: content's start")
  add("--limit", type=int, help="at most so many requests")
  add("--seed", type=int, default=0)
  add("--batch_size", type=int, default=4)
  sampling_flags.add_arguments(add)
  add("--compilation_cache", help="folder that keeps compiled code")
  add("--max_failed", type=int, default=0, help="more make the exit status 1")
  return parser


def main(argv: Sequence[str] | None = None) -> int:
  """The program; returns its exit status."""
  args = _parser().parse_args(argv)
  sources = [args.tokens, args.audio, args.manifest and not args.tokens]
  if sum(map(bool, sources)) != 1:
    raise ValueError("give one of --tokens, --audio and --manifest")
  if args.prompt_audio and (args.manifest or args.continuation):
    raise ValueError(
      "--prompt_audio is for all requests: give neither --manifest nor "
      "--continuation with it"
    )
  model = load(
    args.weights,
    batch_size=args.batch_size,
    int8=args.int8,
    compilation_cache=args.compilation_cache,
  )
  content: Library = AudioLibrary(model)
  if args.tokens:
    content = TokenLibrary(args.tokens, split=args.split, model=model)
  if args.manifest:
    folder = None if args.tokens else pathlib.Path(args.manifest).parent
    jobs = manifest_jobs(args.manifest, folder=folder, seed=args.seed)
  elif args.tokens:
    jobs = [Job(i, i, args.prompt_audio, args.seed) for i in content.ids]
  else:
    jobs = audio_jobs(args.audio, prompt=args.prompt_audio, seed=args.seed)
  result = generate(
    jobs[: args.limit],
    args.output,
    model=model,
    content=content,
    voices=AudioLibrary(model) if args.prompt_audio else content,
    prompt_seconds=args.prompt_seconds,
    continuation=args.continuation,
    sampler=sampling_flags.with_arguments(model.sampler, args),
  )
  print(f"{result.written} written, {result.skipped} already there")
  if result.written:
    print(
      f"{result.audio_s:.1f} s of audio in {result.run_s:.1f} s, real-time "
      f"factor {result.run_s / result.audio_s:.3f}; compiled in "
      f"{result.compile_s:.1f} s"
    )
  if result.failed:
    print(f"{len(result.failed)} failed, {args.max_failed} allowed")
  return int(len(result.failed) > args.max_failed)


if __name__ == "__main__":
  sys.exit(main())
