"""SoundStorm's products in int8, for generation where that is faster.

Weights by output channel and activations by frame are scaled to 8 bits, and the
Conformer's matrix products are of integers; attention's own products, the heads
and all else stay in float. qwix rewrites the network.

Processors that sum int8 products (AVX-512 VNNI, and its like on GPU and TPU)
gain; others do not (benchmarks/peers/README.md has figures).
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from soundstorm_jax.config import SoundStormConfig
from soundstorm_jax.models.conformer import unstack_layers
from soundstorm_jax.models.soundstorm import SoundStorm


def unscanned(model: SoundStormConfig) -> SoundStormConfig:
  """The config with layers one after another, as int8 takes them."""
  conformer = dataclasses.replace(model.conformer, scan_layers=False)
  return dataclasses.replace(model, conformer=conformer)


def quantize_network(network: SoundStorm) -> nn.Module:
  """The network with int8 products; takes the parameters of `quantize_params`.

  Args:
    network: its layers not scanned.

  Raises:
    ImportError: qwix is not installed.
    ValueError: the layers are scanned.
  """
  qwix = _qwix()
  if network.config.conformer.scan_layers:
    raise ValueError("int8 takes layers that are not scanned, got scan_layers")
  rule = qwix.QuantizationRule(
    module_path="conformer.*",
    weight_qtype="int8",
    act_qtype="int8",
    op_names=("dot_general",),
  )
  return qwix.quantize_model(network, qwix.PtqProvider([rule]))


def quantize_params(params: Mapping[str, Any], model: SoundStormConfig) -> Any:
  """Parameters with the Conformer's matrices in int8.

  Args:
    params: of the network, layers stacked or not.
    model: its config, layers not scanned.

  Raises:
    ImportError: qwix is not installed.
    ValueError: `model` scans its layers.
  """
  params = {**params}
  if "layers" in params["conformer"]:
    params["conformer"] = unstack_layers(params["conformer"])
  network = quantize_network(SoundStorm(model))
  row = jnp.zeros((1, 1), jnp.int32)
  tokens = jnp.zeros((1, 1, model.levels), jnp.int32)
  wanted = jax.eval_shape(
    lambda key: network.init(key, tokens, row, None, level=0)["params"],
    jax.random.key(0),
  )
  params = jax.tree.map(jnp.asarray, params)
  return _qwix().quantize_params(params, nn.meta.unbox(wanted))


def _qwix() -> Any:
  try:
    import qwix
  except ImportError as error:
    raise ImportError(
      "int8 needs the package of the extra 'int8': "
      "pip install 'soundstorm-jax[int8]'"
    ) from error
  return qwix
