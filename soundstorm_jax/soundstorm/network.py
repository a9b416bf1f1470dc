"""SoundStorm's masked token predictor (arXiv 2305.09636, section 2.1).

The embeddings of a frame's Q codec tokens and of its conditioning token are
summed, so the sequence has one element per frame whatever Q is; a Conformer
follows, and one dense head per level reads out that level's logits. Only the
head of the level asked for is computed.

Levels count from 0, the coarsest, in code; the paper counts from 1.

Logical axis names are listed in `conformer`.

Axes: B batch, T frames, Q levels, V codes, D model width.
"""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from soundstorm_jax.layers.conformer import Conformer
from soundstorm_jax.soundstorm.config import SoundStormConfig

# The Conformer's output has unit variance, so initial logits have this standard
# deviation: nearly uniform predictions, but not a symmetric start.
_INITIAL_LOGIT_SCALE = 0.1


class SoundStorm(nn.Module):
  """Predicts the masked tokens of one level from all that is known.

  Inputs of every method:
    tokens: codec tokens; `config.mask_id` where unknown.
    semantic: conditioning tokens, repeated to the codec's frame rate;
      `config.null_semantic_id` where dropped (for classifier-free guidance).
    valid: the frames that hold data; None when all do, which is faster.
    deterministic: no dropout; with it off, a `dropout` RNG is needed.

  Attributes:
    config: sizes.
    loop_heads: see `conformer.attention`.
  """

  config: SoundStormConfig
  loop_heads: bool = False

  def setup(self):
    config = self.config
    dim = config.conformer.dim
    # Q + 1 independent embeddings sum to unit variance.
    embedding_init = nn.initializers.normal((config.levels + 1) ** -0.5)
    self.token_embedding = self.param(
      "token_embedding",
      nn.with_logical_partitioning(
        embedding_init, ("levels", "table", "embed")
      ),
      # One row more than codes: each level has its own mask embedding.
      (config.levels, config.codes + 1, dim),
    )
    self.semantic_embedding = self.param(
      "semantic_embedding",
      nn.with_logical_partitioning(embedding_init, ("table", "embed")),
      (config.semantic_vocab + 1, dim),
    )
    self.conformer = Conformer(config.conformer, self.loop_heads)
    self.head_kernel = self.param(
      "head_kernel",
      nn.with_logical_partitioning(
        nn.initializers.normal(_INITIAL_LOGIT_SCALE / math.sqrt(dim)),
        ("levels", "embed", "vocab"),
      ),
      (config.levels, dim, config.codes),
    )
    self.head_bias = self.param(
      "head_bias",
      nn.with_logical_partitioning(nn.initializers.zeros, ("levels", "vocab")),
      (config.levels, config.codes),
    )

  def features(
    self,
    tokens: Int[Array, "B T Q"],
    semantic: Int[Array, "B T"],
    valid: Bool[Array, "B T"] | None,
    *,
    deterministic: bool = True,
  ) -> Float[Array, "B T D"]:
    """What the heads read: normalised frames in the compute dtype.

    Raises:
      ValueError: `tokens` has another number of levels than the config.
    """
    if tokens.shape[-1] != self.config.levels:
      raise ValueError(
        f"tokens must have {self.config.levels} levels, got {tokens.shape[-1]}"
      )
    with jax.named_scope("embed"):
      # A sum over levels and not one gather: the (B, T, Q, D) array, Q times
      # the activations, is never made.
      x = self.semantic_embedding[semantic]
      for level in range(self.config.levels):
        x = x + self.token_embedding[level][tokens[:, :, level]]
    return self.conformer(x, valid, deterministic=deterministic)

  def __call__(
    self,
    tokens: Int[Array, "B T Q"],
    semantic: Int[Array, "B T"],
    valid: Bool[Array, "B T"] | None,
    *,
    level: Int[Array, ""] | Int[Array, " B"] | int,
    deterministic: bool = True,
  ) -> Float[Array, "B T V"]:
    """Float32 logits of one level.

    Args:
      tokens: see the class.
      semantic: see the class.
      valid: see the class.
      level: which level, from 0; one for all rows or one per row.
      deterministic: see the class.

    Raises:
      ValueError: `tokens` has another number of levels than the config.
    """
    x = self.features(tokens, semantic, valid, deterministic=deterministic)
    with jax.named_scope("head"):
      # Cast before the gather: with one level per row it copies a head a row.
      kernel = self.head_kernel.astype(x.dtype)[level]
      bias = self.head_bias[level]
      contraction = "btd,dv->btv" if kernel.ndim == 2 else "btd,bdv->btv"
      logits = jnp.einsum(
        contraction, x, kernel, preferred_element_type=jnp.float32
      )
      logits = logits + (bias if bias.ndim == 1 else bias[:, None, :])
    return nn.with_logical_constraint(
      logits, ("act_batch", "act_time", "act_vocab")
    )

  def all_logits(
    self,
    tokens: Int[Array, "B T Q"],
    semantic: Int[Array, "B T"],
    valid: Bool[Array, "B T"] | None,
    *,
    deterministic: bool = True,
  ) -> Float[Array, "B T Q V"]:
    """Float32 logits of every level, for analysis.

    Call with `model.apply(..., method="all_logits")`.

    Raises:
      ValueError: `tokens` has another number of levels than the config.
    """
    x = self.features(tokens, semantic, valid, deterministic=deterministic)
    logits = jnp.einsum(
      "btd,qdv->btqv",
      x,
      self.head_kernel.astype(x.dtype),
      preferred_element_type=jnp.float32,
    )
    return logits + self.head_bias


def parameter_count(config: SoundStormConfig) -> int:
  """The number of parameters, without making them.

  The paper's configuration, which is the default, has 350M (section 4.1).
  """
  frame = jax.ShapeDtypeStruct((1, 1), jnp.int32)
  tokens = jax.ShapeDtypeStruct((1, 1, config.levels), jnp.int32)
  model = SoundStorm(config)
  variables = jax.eval_shape(
    lambda key, tokens, semantic: model.init(
      key, tokens, semantic, None, level=0
    ),
    jax.random.key(0),
    tokens,
    frame,
  )
  return sum(leaf.size for leaf in jax.tree.leaves(variables))
