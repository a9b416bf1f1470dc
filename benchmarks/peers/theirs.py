"""The peer's side: soundstorm-pytorch, at the sizes of the paper.

It runs in an environment of its own, see README.md, as a worker of `compare`.
Two of its settings are not its defaults, because the paper's model has neither:
there is one residual stream and not four, and the schedule is the cosine.

Axes: B batch, T frames, Q levels, V codes, D model width.
"""

import argparse
import platform
import sys
import types
import warnings

from benchmarks.peers.worker import pin, serve

# What its modules import for audio and training, and its compute never uses.
_STAND_INS = {
  "accelerate": ("Accelerator", "DistributedType"),
  "audiolm_pytorch": ("SoundStream", "HubertWithKmeans", "FairseqVQWav2Vec"),
  "audiolm_pytorch.data": ("get_dataloader",),
  "audiolm_pytorch.optimizer": ("get_optimizer",),
  "spear_tts_pytorch": ("TextToSemantic",),
}


def stand_in() -> None:
  """Puts empty classes where the packages are that are not installed."""
  for name, members in _STAND_INS.items():
    module = types.ModuleType(name)
    for member in members:
      setattr(module, member, type(member, (), {}))
    sys.modules[name] = module


def main() -> None:
  """The worker."""
  parser = argparse.ArgumentParser(description=__doc__)
  add = parser.add_argument
  for name in ("threads", "frames", "iterations", "streams"):
    add(f"--{name}", type=int, required=True)
  for name in ("levels", "codes", "semantic_vocab", "dim", "layers", "heads"):
    add(f"--{name}", type=int, required=True)
  for name in ("ff_dim", "conv_kernel"):
    add(f"--{name}", type=int, required=True)
  args = parser.parse_args()
  pin(args.threads)
  stand_in()
  # Its attention enters a context manager that PyTorch has renamed.
  warnings.filterwarnings("ignore", category=FutureWarning)

  import torch
  from soundstorm_pytorch import ConformerWrapper, SoundStorm

  torch.set_num_threads(args.threads)
  torch.manual_seed(0)
  network = ConformerWrapper(
    codebook_size=args.codes,
    num_quantizers=args.levels,
    conformer={
      "dim": args.dim,
      "depth": args.layers,
      "heads": args.heads,
      "dim_head": args.dim // args.heads,
      "ff_mult": args.ff_dim // args.dim,
      "conv_kernel_size": args.conv_kernel,
      "num_residual_streams": args.streams,
    },
  )
  # The rates only say that there is conditioning; nothing is resampled.
  model = SoundStorm(
    network,
    steps=args.iterations,
    schedule="cosine",
    num_semantic_token_ids=args.semantic_vocab,
    wav2vec_target_sample_hz=16_000,
    wav2vec_downsample_factor=320,
    codec_target_sample_hz=16_000,
    codec_downsample_factor=320,
  ).eval()
  shape = (1, args.frames)
  semantic = torch.randint(0, args.semantic_vocab, shape)
  tokens = torch.full((1, args.frames * args.levels), args.codes)
  valid = torch.ones(shape, dtype=torch.bool)
  features = torch.randn(1, args.frames, args.dim)
  left = torch.randn(args.frames, args.dim)
  right = torch.randn(args.dim, args.ff_dim)
  with torch.inference_mode():
    conditioning = model.maybe_get_condition(semantic)

    def generate():
      made = model.generate(cond_semantic_token_ids=semantic)
      if made.numel() != tokens.numel():
        raise ValueError(f"made {made.numel()} of {tokens.numel()} tokens")

    serve(
      {
        "matmul": lambda: left @ right,
        "conformer": lambda: network.conformer(features, mask=valid),
        "pass": lambda: network(
          tokens,
          mask=valid,
          cond=conditioning,
          return_logits_and_embeddings=True,
        ),
        "generate": generate,
      },
      {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "cpu": torch.backends.cpu.get_cpu_capability(),
        "parameters": sum(p.numel() for p in model.parameters()),
        "conformer_parameters": sum(
          p.numel() for p in network.conformer.parameters()
        ),
        "passes": args.iterations + args.levels - 1,
      },
    )


if __name__ == "__main__":
  main()
