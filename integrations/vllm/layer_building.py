"""vLLM's models made without layers, and layers of a family put into them."""

import copy
from collections.abc import Callable
from typing import Any

from torch import nn
from vllm.config import VllmConfig
from vllm.model_executor.models.utils import make_layers

from .views import largest


def with_config(vllm_config: VllmConfig, config: Any) -> VllmConfig:
    """The same for a reader that is to see another model config."""
    found, found.model_config = copy.copy(vllm_config), copy.copy(vllm_config.model_config)
    found.model_config.hf_config = found.model_config.hf_text_config = config
    return found


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
