"""Batches by integer position (see positions.py), loaded through tf.data.

The permutation of an epoch is `tf.random.experimental.index_shuffle`'s.
"""

from collections.abc import Callable, Iterator, Mapping

import numpy as np
import tensorflow as tf

from soundstorm_jax.data.positions import HostSlice

# The input pipeline must not take accelerator memory away from JAX.
tf.config.set_visible_devices([], "GPU")
tf.config.set_visible_devices([], "TPU")

_ENDLESS = 2**62


def shuffled_index(position: tf.Tensor, *, size: int, seed: int) -> tf.Tensor:
  """The example at a global position: each one once in every epoch.

  Args:
    position: scalar int64.
    size: examples in an epoch.
    seed: of the run; every epoch is permuted differently.

  Returns:
    Scalar int64 in [0, size).
  """
  size = tf.constant(size, tf.int64)
  epoch, offset = position // size, position % size
  seed = tf.stack([tf.constant(seed, tf.int64), epoch])
  return tf.random.experimental.index_shuffle(offset, seed, size - 1)


def uniform(position: tf.Tensor, count: int, *, seed: int) -> tf.Tensor:
  """`count` numbers in [0, 1), float64, that depend on (seed, position)."""
  seed = tf.stack([tf.constant(seed, tf.int64), position])
  return tf.random.stateless_uniform([count], seed, dtype=tf.float64)


def train_batches(
  load: Callable[..., Mapping[str, np.ndarray]],
  plan: Callable[[tf.Tensor], tuple[tf.Tensor, ...]],
  signature: Mapping[str, tf.TensorSpec],
  *,
  hosts: HostSlice,
  start_step: int,
  workers: int,
) -> Iterator[dict[str, np.ndarray]]:
  """An endless stream of this host's batches, read ahead in the background.

  Args:
    load: NumPy function from the planned values to one example; batches are
      loaded in `workers` threads.
    plan: TensorFlow function from a scalar int64 position to the values that
      `load` takes: everything random is decided here, by stateless ops.
    signature: shape and dtype of each array of an example.
    hosts: this host's rows.
    start_step: the first batch, the number of completed steps of a run.
    workers: batches loaded at a time.

  Yields:
    Batches: name -> (rows, *shape).

  Raises:
    ValueError: start_step is negative.
    Exception: whatever `load` raised, unchanged.
  """
  if start_step < 0:
    raise ValueError(f"start_step must be at least 0, got {start_step}")
  names = list(signature)
  failures: list[Exception] = []

  def load_arrays(*values: np.ndarray) -> list[np.ndarray]:
    try:
      rows = [load(*row) for row in zip(*values, strict=True)]
      return [np.stack([row[name] for row in rows]) for name in names]
    except Exception as error:
      failures.append(error)
      # Ends the stream without TensorFlow logging the error as its own.
      raise StopIteration from None

  def load_batch(*values: tf.Tensor) -> dict[str, tf.Tensor]:
    arrays = tf.numpy_function(
      load_arrays,
      values,
      [signature[name].dtype for name in names],
      stateful=False,
    )
    return {
      name: tf.ensure_shape(array, [hosts.rows, *signature[name].shape])
      for name, array in zip(names, arrays, strict=True)
    }

  def host_positions(batch: tf.Tensor) -> tf.data.Dataset:
    start = batch * hosts.batch_size + hosts.first
    return tf.data.Dataset.range(start, start + hosts.rows)

  # These are graph code already; AutoGraph would only look for their source.
  plain = tf.autograph.experimental.do_not_convert
  options = tf.data.Options()
  options.deterministic = True
  options.threading.private_threadpool_size = workers
  dataset = (
    tf.data.Dataset.range(start_step, _ENDLESS)
    .flat_map(plain(host_positions))
    .map(plain(plan))
    .batch(hosts.rows, drop_remainder=True)
    # One call a batch: crossing into Python costs more than copying a window.
    .map(plain(load_batch), num_parallel_calls=workers)
    .prefetch(2)
    .with_options(options)
  )
  tensorflow_error = tf.errors.OpError
  try:
    yield from dataset.as_numpy_iterator()
  except tensorflow_error:
    if not failures:
      raise
  if failures:
    raise failures[0]
