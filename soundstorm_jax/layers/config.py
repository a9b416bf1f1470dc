"""Settings of the networks that several systems are made of."""

import dataclasses

from soundstorm_jax.config import at_least, check_dtype, within


@dataclasses.dataclass(frozen=True)
class ConformerConfig:
  """A bidirectional Conformer; the defaults are the paper's (section 4.1).

  Raises ValueError if the heads do not divide the model width into an even
  head width (rotary positions rotate pairs), or a size is not positive.
  """

  dim: int = 1024
  layers: int = 12
  heads: int = 16
  ff_dim: int = 4096
  conv_kernel: int = 5
  dropout: float = 0.0
  scan_layers: bool = True
  remat: bool = False
  dtype: str = "float32"

  def __post_init__(self):
    for name in ("dim", "layers", "heads", "ff_dim", "conv_kernel"):
      at_least(name, getattr(self, name), 1)
    if self.dim % (2 * self.heads):
      raise ValueError(
        f"dim must be a multiple of 2 * heads, got dim={self.dim}, "
        f"heads={self.heads}"
      )
    if self.conv_kernel % 2 == 0:
      raise ValueError(f"conv_kernel must be odd, got {self.conv_kernel}")
    within("dropout", self.dropout, 0.0, 0.99)
    check_dtype(self.dtype)


@dataclasses.dataclass(frozen=True)
class TransformerConfig:
  """A decoder-only Transformer; sizes of AudioLM's stages (section IV-C).

  Attributes:
    dim: model width.
    layers: number of blocks.
    heads: of attention.
    ff_dim: inner width of a feed-forward.
    position_buckets: of the relative positions, shared by all layers (T5).
    max_distance: distances from here on share the last bucket.
    dropout: of what a block adds.
    scan_layers: stack the blocks' parameters, for a shorter compilation of the
      training step; sampling always has them apart.
    remat: recompute activations in the backward pass.
    dtype: to compute in.
  """

  dim: int = 1024
  layers: int = 12
  heads: int = 16
  ff_dim: int = 4096
  position_buckets: int = 32
  max_distance: int = 128
  dropout: float = 0.0
  scan_layers: bool = True
  remat: bool = False
  dtype: str = "float32"

  def __post_init__(self):
    for name in ("dim", "layers", "heads", "ff_dim"):
      at_least(name, getattr(self, name), 1)
    if self.dim % self.heads:
      raise ValueError(
        f"dim must be a multiple of heads, got dim={self.dim}, "
        f"heads={self.heads}"
      )
    at_least("position_buckets", self.position_buckets, 4)
    if self.position_buckets % 2:
      raise ValueError(
        f"position_buckets must be even, got {self.position_buckets}"
      )
    at_least("max_distance", self.max_distance, self.position_buckets)
    within("dropout", self.dropout, 0.0, 0.99)
    check_dtype(self.dtype)
