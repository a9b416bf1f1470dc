"""Our side: soundstorm_jax, at the sizes of the paper, a worker of `compare`.

Axes: B batch, T frames, Q levels, V codes, D model width.
"""

import argparse
import dataclasses
import os
import platform

from benchmarks.peers.worker import pin, serve


def main() -> None:
  """The worker."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("--size", required=True)
  parser.add_argument("--frames", type=int, required=True)
  parser.add_argument("--threads", type=int, required=True)
  parser.add_argument("--layers", type=int, required=True)
  parser.add_argument("--int8", action="store_true")
  args = parser.parse_args()
  # Before jax is imported: it counts the processors then.
  pin(args.threads)
  os.environ["JAX_PLATFORMS"] = "cpu"

  import jax
  import jax.numpy as jnp
  import numpy as np

  from soundstorm_jax.benchmarking.sizes import SIZES, random_soundstorm
  from soundstorm_jax.layers.conformer import Conformer
  from soundstorm_jax.soundstorm.config import default_sampler
  from soundstorm_jax.soundstorm.int8 import (
    quantize_network,
    quantize_params,
    unscanned,
  )
  from soundstorm_jax.soundstorm.network import SoundStorm
  from soundstorm_jax.soundstorm.sampler import make_sampler

  model = SIZES[args.size].model
  width = dataclasses.replace(model.conformer, layers=args.layers)
  model, frames = dataclasses.replace(model, conformer=width), args.frames
  if args.int8:
    model = unscanned(model)
    width = model.conformer
  rng = np.random.default_rng(0)
  network = SoundStorm(model, loop_heads=True)
  params = random_soundstorm(model, rng=rng)
  count, conformer_count = (
    sum(leaf.size for leaf in jax.tree.leaves(part))
    for part in (params, params["conformer"])
  )
  semantic = jnp.asarray(
    rng.integers(0, model.semantic_vocab, (1, frames), np.int32)
  )
  tokens = jnp.full((1, frames, model.levels), model.mask_id, jnp.int32)
  valid = jnp.ones((1, frames), bool)
  features = jnp.asarray(
    rng.standard_normal((1, frames, width.dim), np.float32)
  )
  left = jnp.asarray(rng.standard_normal((frames, width.dim), np.float32))
  right = jnp.asarray(
    rng.standard_normal((width.dim, width.ff_dim), np.float32)
  )
  sampler = default_sampler(model.levels)

  def compiled(function, *inputs, **named):
    if not hasattr(function, "lower"):
      function = jax.jit(function)
    run = function.lower(*inputs, **named).compile()
    return lambda: jax.block_until_ready(run(*inputs, **named))

  jobs = {
    "matmul": compiled(jnp.matmul, left, right),
    "conformer": compiled(
      lambda params, x, valid: Conformer(width, loop_heads=True).apply(
        {"params": params}, x, valid
      ),
      params["conformer"],
      features,
      valid,
    ),
  }
  if args.int8:
    params = quantize_params(params, model)
    network = quantize_network(network)
  jobs |= {
    # As the sampler has it on CPU: the level is not known to the compiler.
    "pass": compiled(
      lambda params, tokens, semantic, valid, level: network.apply(
        {"params": params}, tokens, semantic, valid, level=level
      ),
      params,
      tokens,
      semantic,
      valid,
      jnp.int32(0),
    ),
    "generate": compiled(
      make_sampler(model, sampler, int8=args.int8),
      {"params": params},
      semantic,
      prompt=jnp.zeros_like(tokens),
      prompt_length=jnp.zeros(1, jnp.int32),
      length=jnp.full(1, frames, jnp.int32),
      keys=jax.random.split(jax.random.key(0, impl="threefry2x32"), 1),
    ),
  }
  serve(
    jobs,
    {
      "python": platform.python_version(),
      "jax": jax.__version__,
      "threads": len(os.sched_getaffinity(0)),
      "parameters": count,
      "conformer_parameters": conformer_count,
      "passes": sampler.passes,
    },
  )


if __name__ == "__main__":
  main()
