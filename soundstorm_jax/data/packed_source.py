"""Windows of packed tokens, cut on the device.

The corpus lies whole on every device: 30 hours are 140 MB, the paper's 60,000
too much. A position (see positions.py) names an utterance, which every epoch
has once, and the window of it: lengths and places are drawn as `TokenSource`
draws them, from other random numbers.

Axes: T frames of the longest window, N utterances, F frames of the corpus,
Q levels.
"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key, Shaped, UInt32

from soundstorm_jax.config import DataConfig
from soundstorm_jax.data.packed import PackedSplit, PackedTokens
from soundstorm_jax.data.positions import host_slice, shuffled
from soundstorm_jax.data.token_windows import TokenWindows, example_semantic

# Places are 32-bit numbers.
_MOST_FRAMES = 2**31 - 1


class PackedTokenSource(TokenWindows):
  """Token windows from a file of `soundstorm_jax.pack`, as `TokenSource`'s.

  Args:
    config: the file, splits, window lengths.
    batch_size: global, over all hosts; of the held-out batches.
    process_index: this host.
    process_count: hosts.

  Raises:
    FileNotFoundError: no such file.
    ValueError: it is not such a file or lacks the training split, the corpus
      is too long, a window is shorter than a frame, or hosts do not divide
      the batch.
  """

  def __init__(
    self,
    config: DataConfig,
    *,
    batch_size: int,
    process_index: int = 0,
    process_count: int = 1,
  ):
    hosts = host_slice(
      batch_size, process_index=process_index, process_count=process_count
    )
    self._packed = PackedTokens(config.path)
    self._train = self._packed.split(config.split)
    super().__init__(config, self._packed.metadata, hosts=hosts)
    frames = len(self._train.acoustic) + self.frames
    if not len(self._train) or frames > _MOST_FRAMES:
      raise ValueError(
        f"split {config.split!r} of {config.path} must have between 1 frame "
        f"and {_MOST_FRAMES - self.frames}, got {len(self._train.acoustic)}"
      )

  @property
  def examples_per_epoch(self) -> int:
    """Utterances to train on."""
    return len(self._train)

  def held_out(self) -> PackedSplit:
    """See `TokenWindows`."""
    return self._packed.split(self._config.eval_split)

  def arrays(self) -> dict[str, Shaped[np.ndarray, "..."]]:
    """What `draw` reads: the corpus, semantic tokens at the frame rate.

    Raises:
      ValueError: an utterance's semantic tokens end before its frames.
    """
    length = self._train.frames.astype(np.int32)
    semantic = np.concatenate(
      [
        example_semantic(row, len(row.acoustic), self.metadata)
        for row in (self._train[n] for n in range(len(self._train)))
      ]
    )
    # A window that starts in the last utterance may reach beyond it.
    return {
      "acoustic": np.pad(self._train.acoustic, ((0, self.frames), (0, 0))),
      "semantic": np.pad(semantic.astype(np.uint16), (0, self.frames)),
      "first": np.cumsum(length, dtype=np.int32) - length,
      "length": length,
    }

  def draw(
    self,
    arrays: Mapping[str, Shaped[Array, "..."]],
    position: UInt32[Array, ""],
    *,
    key: Key[Array, ""],
  ) -> dict[str, Shaped[Array, "T *Q"]]:
    """The example at a global position; pure.

    Args:
      arrays: those of `arrays`, on the device.
      position: global; see `positions.py`.
      key: of the whole run.

    Returns:
      {'semantic': (T,), 'acoustic': (T, Q), 'valid': (T,)}, as a row of
      `TokenSource`'s batches.
    """
    order_key, window_key = jax.random.split(key)
    entry = shuffled(position, self.examples_per_epoch, key=order_key)
    length_key, start_key = jax.random.split(
      jax.random.fold_in(window_key, position)
    )
    wanted = jax.random.randint(
      length_key, (), self.min_frames, self.frames + 1
    )
    has = arrays["length"][entry]
    length = jnp.minimum(wanted, has)
    start = jax.random.randint(start_key, (), 0, has - length + 1)
    valid = jnp.arange(self.frames) < length

    def cut(name: str) -> Array:
      part = jax.lax.dynamic_slice_in_dim(
        arrays[name], arrays["first"][entry] + start, self.frames
      )
      inside = jnp.expand_dims(valid, range(1, part.ndim))
      return jnp.where(inside, part, 0).astype(jnp.int32)

    return {
      "semantic": cut("semantic"),
      "acoustic": cut("acoustic"),
      "valid": valid,
    }
