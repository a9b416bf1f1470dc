"""SoundStorm with the Conformer's products in int8 (`layers.int8`).

Attention's own products, the heads and all else stay in float.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from soundstorm_jax.layers import int8
from soundstorm_jax.layers.stacking import unstack_layers
from soundstorm_jax.soundstorm.config import SoundStormConfig
from soundstorm_jax.soundstorm.network import SoundStorm


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
  if network.config.conformer.scan_layers:
    raise ValueError("int8 takes layers that are not scanned, got scan_layers")
  return int8.quantize_network(network, layers="conformer.*")


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
  return int8.quantize_params(params, wanted)
