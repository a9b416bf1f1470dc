"""The tokens of a run, from whichever kind of dataset its config names."""

from soundstorm_jax.config import DataConfig
from soundstorm_jax.data.packed_source import PackedTokenSource
from soundstorm_jax.data.token_example import Sizes
from soundstorm_jax.data.token_windows import TokenWindows


def token_source(
  config: DataConfig,
  *,
  model: Sizes,
  seed: int,
  batch_size: int,
  process_index: int,
  process_count: int,
) -> TokenWindows:
  """Windows cut on the device from a packed file, or on the host.

  TensorFlow is imported for the latter alone.

  Args:
    config: names the dataset.
    model: that is to take them.
    seed: of the run.
    batch_size: see `training.system.Share`.
    process_index: likewise.
    process_count: likewise.

  Raises:
    ValueError: see the sources, or the tokens are of other sizes than the
      model.
  """
  share = {
    "batch_size": batch_size,
    "process_index": process_index,
    "process_count": process_count,
  }
  if config.on_device:
    source = PackedTokenSource(config, **share)
  else:
    from soundstorm_jax.data.tokens import TokenSource

    source = TokenSource(config, seed=seed, **share)
  source.metadata.check_model(model, path=config.path)
  return source
