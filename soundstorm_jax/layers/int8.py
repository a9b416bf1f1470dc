"""Matrix products in int8, for networks that run faster so.

Weights by output channel and activations by row are scaled to 8 bits, and the
products of the layers that are named are of integers. qwix rewrites the
network.

Processors that sum int8 products (AVX-512 VNNI, and its like on GPU and TPU)
gain; others do not (benchmarks/peers/README.md has figures).
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp


def quantize_network(network: nn.Module, *, layers: str) -> nn.Module:
  """The network with int8 products; takes the parameters of `quantize_params`.

  Args:
    network: its layers not scanned.
    layers: a regular expression of the layers' paths.

  Raises:
    ImportError: qwix is not installed.
  """
  qwix = _qwix()
  rule = qwix.QuantizationRule(
    module_path=layers,
    weight_qtype="int8",
    act_qtype="int8",
    op_names=("dot_general",),
  )
  return qwix.quantize_model(network, qwix.PtqProvider([rule]))


def quantize_params(params: Any, shapes: Any) -> Any:
  """Parameters with the layers' matrices in int8.

  Args:
    params: of the network as it was.
    shapes: of the quantized network's parameters, boxed or not.

  Raises:
    ImportError: qwix is not installed.
  """
  params = jax.tree.map(jnp.asarray, params)
  return _qwix().quantize_params(params, nn.meta.unbox(shapes))


def _qwix() -> Any:
  try:
    import qwix
  except ImportError as error:
    raise ImportError(
      "int8 needs the package of the extra 'int8': "
      "pip install 'soundstorm-jax[int8]'"
    ) from error
  return qwix
