"""`heterogeneous_nemotron_h` of vLLM's Nemotron-H."""

from typing import Any

import torch
from torch import nn
from vllm.config import VllmConfig
from vllm.model_executor.models.nemotron_h import (
    NemotronHAttentionDecoderLayer,
    NemotronHForCausalLM,
    NemotronHMambaDecoderLayer,
    NemotronHMLPDecoderLayer,
    NemotronHMoEDecoderLayer,
)
from vllm.model_executor.models.utils import maybe_prefix

from .layer_building import put_layers, with_config
from .views import largest, only_layer, without_layers


# (mixer, MLP) -> vLLM's layer of it
LAYERS = {
    ("mamba", "none"): NemotronHMambaDecoderLayer,
    ("attention", "none"): NemotronHAttentionDecoderLayer,
    ("none", "moe"): NemotronHMoEDecoderLayer,
    ("none", "dense"): NemotronHMLPDecoderLayer,
}


class EmptyLayer(nn.Module):
    """A layer with nothing in it."""

    def forward(
        self, hidden_states: torch.Tensor, residual: torch.Tensor | None, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        if residual is None:
            return torch.zeros_like(hidden_states), hidden_states
        return hidden_states, residual


class HeterogeneousNemotronHForCausalLM(NemotronHForCausalLM):
    """vLLM's Nemotron-H of layers of the sizes in `per_layer_config[i]`, of which some may be empty."""

    @classmethod
    def get_mamba_state_shape_from_config(cls, vllm_config: VllmConfig) -> Any:
        """The largest of all layers, which pages of the cache are made for."""
        config = largest(vllm_config.model_config.hf_config)
        return super().get_mamba_state_shape_from_config(with_config(vllm_config, config))

    def __init__(self, *, vllm_config: VllmConfig, prefix: str = "") -> None:
        config = vllm_config.model_config.hf_config
        super().__init__(vllm_config=with_config(vllm_config, without_layers(config)), prefix=prefix)
        self.config = config
        types = list(zip(config.mixer_types, config.mlp_types, strict=True))

        def make(layer_idx: int, layer_prefix: str) -> nn.Module:
            if types[layer_idx] not in LAYERS:
                return EmptyLayer()
            return LAYERS[types[layer_idx]](
                config=only_layer(config, layer_idx),
                layer_idx=layer_idx,
                model_config=vllm_config.model_config,
                cache_config=vllm_config.cache_config,
                quant_config=vllm_config.quant_config,
                parallel_config=vllm_config.parallel_config,
                prefix=layer_prefix,
            )

        put_layers(self.model, config, make, maybe_prefix(prefix, "model"))
        self.model.has_moe = "moe" in config.mlp_types
