"""Turns Google's SoundStream, Lyra V2, into a codec of ours.

  python -m soundstorm_jax.soundstream.import_lyra \\
    --model=lyra/lyra/model_coeffs --output=lyra.safetensors \\
    --refit=LibriSpeech/dev-clean --held_out_speakers=1272,2035,2412,422

lyra.py says where the model is from. The network is as it was trained, in
float32. Its own 46 levels of 16 codes serve SoundStorm badly, which has a head
and a pass for each; --refit puts fewer levels of more codes in their place:
k-means of the encoder's latents of a folder of recordings, level after level.

Axes: N frames, Q levels, V codes, D width.
"""

import argparse
import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from soundstorm_jax.config import listed_names, to_mapping
from soundstorm_jax.data.audio_files import read_audio
from soundstorm_jax.data.tokenizer_batches import collect_frames
from soundstorm_jax.data.utterances import Utterance, find_utterances
from soundstorm_jax.soundstream import quantizer
from soundstorm_jax.soundstream.lyra import CONFIG, read_codec
from soundstorm_jax.soundstream.network import SoundStream
from soundstorm_jax.weights import save_weights

_ITERATIONS = 20
# Frames that are quantized to say how well the codes fit.
_JUDGED = 10_000


@dataclasses.dataclass(frozen=True)
class RefitConfig:
  """What to fit codebooks to.

  Attributes:
    audio: folder of recordings.
    held_out_speakers: their recordings are not used.
    levels: of the quantizer.
    codes: of a level.
    max_frames: that are clustered, 50 a second; recordings are taken at random.
    seed: of that choice and of k-means.
  """

  audio: str
  held_out_speakers: tuple[str, ...] = ()
  levels: int = 12
  codes: int = 1024
  max_frames: int = 400_000
  seed: int = 0

  def __post_init__(self):
    for name, least in (("levels", 1), ("codes", 2), ("max_frames", 1)):
      if getattr(self, name) < least:
        raise ValueError(
          f"{name} must be at least {least}, got {getattr(self, name)}"
        )


class Refit(NamedTuple):
  """Codebooks and how well they fit.

  Attributes:
    codebooks: the codes of each level.
    frames: that they were fitted to.
    left: the share of the variance of held-out latents, or without held-out
      speakers of those fitted to, that quantizing loses.
  """

  codebooks: Float[np.ndarray, "Q V D"]
  frames: int
  left: float


def import_lyra(
  model: str, output: str, *, refit: RefitConfig | None = None
) -> Refit | None:
  """Writes the codec of the files in folder `model` to `output`.

  Args:
    model: folder with the three TFLite files.
    output: the file to write.
    refit: what to fit other codebooks to; the model's own if None.

  Returns:
    How well those fit.

  Raises:
    ImportError: the package `tflite` is not installed.
    ValueError: see `read_codec`; no or unreadable recordings, an unknown
      held-out speaker, or fewer frames than codes.
  """
  codec = read_codec(model)
  config, codebooks, fitted = CONFIG, codec.codebooks, None
  if refit is not None:
    fitted = _refit(codec.params, refit)
    codebooks = fitted.codebooks
    config = dataclasses.replace(config, levels=refit.levels, codes=refit.codes)
  save_weights(
    output,
    {"params": codec.params, "codebooks": codebooks},
    config=to_mapping(config),
    kind="soundstream",
    dtype="float32",
  )
  return fitted


def _refit(params: dict[str, Any], config: RefitConfig) -> Refit:
  found = find_utterances(
    config.audio, held_out_speakers=config.held_out_speakers
  )
  order = np.random.default_rng(config.seed).permutation(len(found))
  utterances = {"train": [], "test": []}
  for place in order:
    utterances[found[place].split].append(found[place])
  if not utterances["train"]:
    raise ValueError(f"{config.audio} has held-out speakers only")
  latents = _latents(params, utterances["train"], config.max_frames)
  if len(latents) < config.codes:
    raise ValueError(
      f"codes must be at most the {len(latents)} frames of {config.audio}, "
      f"got {config.codes}"
    )
  fit = jax.jit(quantizer.initialize, static_argnames=("iterations", "revive"))
  codebooks = fit(
    jnp.asarray(latents)[None],
    quantizer.empty_codebooks(config.levels, config.codes, dim=CONFIG.dim),
    key=jax.random.key(config.seed),
    iterations=_ITERATIONS,
    revive=True,
  ).vectors
  judged = latents[:_JUDGED]
  if utterances["test"]:
    judged = _latents(params, utterances["test"], _JUDGED)
  made = quantizer.quantize(jnp.asarray(judged)[None], codebooks).values[0]
  left = float(np.square(judged - made).mean() / judged.var(axis=0).mean())
  return Refit(np.asarray(codebooks), len(latents), left)


def _latents(
  params: dict[str, Any], utterances: Sequence[Utterance], max_frames: int
) -> Float[np.ndarray, "N D"]:
  params = jax.tree.map(jnp.asarray, params)
  return collect_frames(
    # The encoder is causal: the zeros after a recording's end change no frame.
    lambda audio, lengths: _encode(params, audio),
    (read_audio(u.path, CONFIG.sample_rate) for u in utterances),
    sample_rate=CONFIG.sample_rate,
    hop=CONFIG.hop,
    max_frames=max_frames,
  )


@jax.jit
def _encode(params, audio):
  with jax.default_matmul_precision("highest"):
    return SoundStream(CONFIG).apply(
      {"params": params}, jnp.asarray(audio), method="encode"
    )


def main(argv: Sequence[str] | None = None) -> None:
  """The program."""
  summary, _, details = (__doc__ or "").partition("\n")
  parser = argparse.ArgumentParser(
    prog="python -m soundstorm_jax.soundstream.import_lyra",
    description=summary,
    epilog=details,
    formatter_class=argparse.RawDescriptionHelpFormatter,
  )
  parser.add_argument(
    "--model", required=True, help="folder with the three .tflite files"
  )
  parser.add_argument("--output", required=True, help="the file to write")
  parser.add_argument(
    "--refit",
    default="",
    metavar="AUDIO",
    help="folder of recordings to fit other codebooks to",
  )
  refit = parser.add_argument_group("with --refit")
  refit.add_argument(
    "--held_out_speakers",
    type=listed_names,
    default=(),
    metavar="A,B",
    help="speakers whose recordings only judge the fit",
  )
  for name, text in (
    ("levels", "of the quantizer"),
    ("codes", "of a level"),
    ("max_frames", "that are clustered, 50 a second"),
    ("seed", "of k-means"),
  ):
    default = getattr(RefitConfig, name)
    refit.add_argument(
      f"--{name}", type=int, default=default, help=f"{text} ({default})"
    )
  args = vars(parser.parse_args(argv))
  model, output, audio = (args.pop(x) for x in ("model", "output", "refit"))
  try:
    config = RefitConfig(audio, **args) if audio else None
    fitted = import_lyra(model, output, refit=config)
  except (ImportError, ValueError) as error:
    parser.error(str(error))
  if fitted is not None:
    print(
      f"{fitted.frames} frames; the codes lose {100 * fitted.left:.1f} % of "
      "the latents' variance"
    )


if __name__ == "__main__":
  main()
