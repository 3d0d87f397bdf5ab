"""vLLM's models made without layers, and layers of a family put into them."""

import copy
from collections.abc import Callable
from typing import Any

from torch import nn
from vllm.config import VllmConfig
from vllm.model_executor.models.utils import make_layers


def with_config(vllm_config: VllmConfig, config: Any) -> VllmConfig:
    """The same for a reader that is to see another model config."""
    found, found.model_config = copy.copy(vllm_config), copy.copy(vllm_config.model_config)
    found.model_config.hf_config = found.model_config.hf_text_config = config
    return found


def without_layers(vllm_config: VllmConfig) -> VllmConfig:
    """For a model that is made of all but its layers."""
    config = vllm_config.model_config.hf_config
    return with_config(vllm_config, config.with_fields(num_hidden_layers=0, mixer_types=[], mlp_types=[]))


def only_layer(config: Any, layer_idx: int) -> Any:
    """The config of a layer, which says of itself that it is all that there is."""
    types = {name: [getattr(config, name)[layer_idx]] for name in ("mixer_types", "mlp_types")}
    return config.per_layer_config[layer_idx].with_fields(num_hidden_layers=1, **types)


def largest(config: Any) -> Any:
    """A config for readers of one number, who make room or look for names: of each size the largest of all layers."""
    sizes = {name: value for name, value in vars(config).items() if name in config.per_layer_sizes}
    fields = {name: max(filter(None, value), default=None) for name, value in sizes.items() if isinstance(value, list)}
    return config.with_fields(**fields)


def put_layers(model: nn.Module, config: Any, make: Callable[[int, str], nn.Module], prefix: str) -> None:
    """
    Give `model` the layers of this process.

    Args:
        model: One of vLLM's, made without layers.
        config: That of the whole model, with its lists.
        make: (layer, prefix) -> the layer.
        prefix: The name of `model` among the modules.
    """

    def make_layer(prefix: str) -> nn.Module:
        return make(int(prefix.rpartition(".")[2]), prefix)

    layers = make_layers(config.num_hidden_layers, make_layer, prefix=f"{prefix}.layers")
    model.start_layer, model.end_layer, model.layers = layers
    model.config = largest(config)
