"""Tokenises, generates, trains, and makes a page of it, on CPU, in minutes.

  python -m soundstorm_jax.demo --output=demo_output

Everything comes with the package: the speech of demo/speech and the small
weights. The speech becomes tokens; sentences are generated in three ways
(without a prompt, in their speaker's voice, in another's); a tiny model is
trained on the tokens, stopped, and resumed. OUTPUT/index.html shows it all.
"""

import argparse
import contextlib
import pathlib
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from soundstorm_jax.demo import page, training
from soundstorm_jax.generate import generate
from soundstorm_jax.speech import jobs
from soundstorm_jax.speech.loading import load
from soundstorm_jax.tokenize import TokenizeConfig, tokenize

SPEECH = pathlib.Path(__file__).parent / "speech"
PROMPT_SECONDS = 3.0
# Every sentence with 3 s of prompt fits into 10.2 s, so one length is compiled.
BUCKETS = (512,)
# In this folder, so that the demo only ever clears what it made.
_MARK = ".made_by_the_demo"


class Sentence(NamedTuple):
  """What is generated; all are utterances of the demo speech.

  Attributes:
    content: what is said.
    own: another sentence of the same speaker, whose start is the prompt.
    other: one of another speaker, likewise.
  """

  content: str
  own: str
  other: str


SENTENCES = (
  Sentence(
    "af_heart/af_heart_01", "af_heart/af_heart_04", "bm_george/bm_george_02"
  ),
  Sentence(
    "am_michael/am_michael_02", "am_michael/am_michael_01", "bf_emma/bf_emma_01"
  ),
  Sentence(
    "bf_emma/bf_emma_02", "bf_emma/bf_emma_03", "am_michael/am_michael_03"
  ),
  Sentence(
    "bm_george/bm_george_01", "bm_george/bm_george_04", "af_heart/af_heart_02"
  ),
)


class _Stages:
  """Announces the parts of the demo, and keeps their times."""

  def __init__(self):
    self.seconds: dict[str, float] = {}

  @contextlib.contextmanager
  def __call__(self, name: str) -> Iterator[None]:
    print(f"--- {name}", file=sys.stderr, flush=True)
    began = time.perf_counter()
    yield
    self.seconds[name] = time.perf_counter() - began


def sample_jobs(sentences: Sequence[Sentence]) -> list[jobs.Job]:
  """Each sentence without a prompt, in its own voice, and in another."""
  plan = []
  for sentence in sentences:
    plan += [
      jobs.Job(f"{kind}/{sentence.content}", sentence.content, prompt)
      for kind, prompt in (
        (page.NO_PROMPT, ""),
        (page.OWN_VOICE, sentence.own),
        (page.OTHER_VOICE, sentence.other),
      )
    ]
  return plan


def main(argv: Sequence[str] | None = None) -> int:
  """The program; returns its exit status."""
  args = _parser().parse_args(argv)
  if args.steps < 2:
    raise ValueError(f"steps must be at least 2, got {args.steps}")
  output = _clear(pathlib.Path(args.output))
  stage = _Stages()
  with stage("load the weights"):
    model = load(args.weights, buckets=BUCKETS)
  with stage("speech to tokens"):
    tokenize(
      TokenizeConfig(
        audio=str(SPEECH),
        manifest=str(SPEECH / "manifest.csv"),
        output=str(output / "tokens"),
        # Training is on the other four voices.
        held_out_speakers=tuple(
          sorted({s.content.split("/")[0] for s in SENTENCES})
        ),
        batch_size=8,
      ),
      codec=model.codec,
      semantic=model.semantic_tokenizer,
    )
  with stage("tokens to speech"):
    library = jobs.TokenLibrary(output / "tokens", split="test", model=model)
    generate(
      sample_jobs(SENTENCES),
      output / "generated",
      model=model,
      content=library,
      prompt_seconds=PROMPT_SECONDS,
    )
    # What the codec alone makes of the originals: the best one can get.
    codec_only = {
      s.content: model.decode(library.tokens(s.content).acoustic)
      for s in SENTENCES
    }
  with stage("training, stopped and resumed"):
    run = training.train_twice(
      output / "tokens",
      output / "training",
      steps=args.steps,
      sizes={
        "levels": model.codec.levels,
        "codes": model.codec.vocabulary,
        "semantic_vocab": model.semantic_tokenizer.vocabulary,
      },
    )
  with stage("page"):
    page.write(
      output / "index.html",
      model=model,
      speech=SPEECH,
      generated=output / "generated",
      codec_only=codec_only,
      run=run,
      seconds=stage.seconds,
      prompt_seconds=PROMPT_SECONDS,
      is_shipped=args.weights is None,
    )
  print(f"total {sum(stage.seconds.values()):.0f} s; open {output}/index.html")
  return 0


def _clear(output: pathlib.Path) -> pathlib.Path:
  """An empty folder; what an earlier demo left in it is removed.

  Raises:
    ValueError: something else is in it.
  """
  mark = output / _MARK
  if output.exists() and any(output.iterdir()) and not mark.exists():
    raise ValueError(f"{output} holds something else; choose another output")
  if mark.exists():
    shutil.rmtree(output)
  output.mkdir(parents=True, exist_ok=True)
  mark.touch()
  return output


def _parser() -> argparse.ArgumentParser:
  summary, _, details = (__doc__ or "").partition("\n")
  parser = argparse.ArgumentParser(
    prog="python -m soundstorm_jax.demo",
    description=summary,
    epilog=details,
    formatter_class=argparse.RawDescriptionHelpFormatter,
  )
  add = parser.add_argument
  add("--output", default="demo_output", help="folder of the results")
  add("--weights", help="folder; the shipped small weights if not given")
  add("--steps", type=int, default=160, help="of training")
  return parser


if __name__ == "__main__":
  sys.exit(main())
