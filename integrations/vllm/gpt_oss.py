"""`heterogeneous_gpt_oss` of vLLM's gpt-oss."""

from collections.abc import Iterable
from itertools import groupby
from typing import Any

import torch
from torch import nn
from vllm.config import VllmConfig
from vllm.model_executor.layers.attention import Attention
from vllm.model_executor.layers.layernorm import RMSNorm
from vllm.model_executor.models.gpt_oss import GptOssForCausalLM, MLPBlock, OAIAttention
from vllm.model_executor.models.utils import maybe_prefix

from .layer_building import put_layers, with_config
from .views import largest, without_layers


class HeterogeneousGptOssAttention(OAIAttention):
    """With the window of the layer, whatever its number."""

    def _build_attention(self, config: Any, cache_config: Any, quant_config: Any, prefix: str) -> Attention:
        return Attention(
            self.num_local_attention_heads,
            self.head_dim,
            self.scaling,
            num_kv_heads=self.num_local_key_value_heads,
            cache_config=cache_config,
            quant_config=quant_config,
            per_layer_sliding_window=config.sliding_window,
            prefix=f"{prefix}.attn",
            sinks=self.sinks,
        )


class HeterogeneousGptOssDecoderLayer(nn.Module):
    """Layer `i` of the sizes in `per_layer_config[i]`, with what it is made of and nothing else."""

    def __init__(self, model_config: Any, layer_idx: int, vllm_config: VllmConfig, prefix: str) -> None:
        super().__init__()
        config = model_config.per_layer_config[layer_idx]
        self.has_mixer, self.has_mlp = (
            model_config.mixer_types[layer_idx] != "none",
            model_config.mlp_types[layer_idx] != "none",
        )
        if self.has_mixer:
            self.attn = HeterogeneousGptOssAttention(
                config, vllm_config.quant_config, vllm_config.cache_config, prefix=f"{prefix}.attn"
            )
            self.input_layernorm = RMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        if self.has_mlp:
            self.mlp = MLPBlock(with_config(vllm_config, config), layer_idx, prefix=f"{prefix}.mlp")
            self.post_attention_layernorm = RMSNorm(config.hidden_size, eps=config.rms_norm_eps)

    def forward(
        self, hidden_states: torch.Tensor, positions: torch.Tensor, residual: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """What is yet to be added to the residual stream, and the stream, as vLLM's layers hand it on."""
        if residual is None:
            residual, hidden_states = hidden_states, torch.zeros_like(hidden_states)
        if self.has_mixer:
            hidden_states, residual = self.input_layernorm(hidden_states, residual)
            hidden_states = self.attn(hidden_states, positions)
        if self.has_mlp:
            hidden_states, residual = self.post_attention_layernorm(hidden_states, residual)
            hidden_states = self.mlp(hidden_states)
        return hidden_states, residual


class HeterogeneousGptOssForCausalLM(GptOssForCausalLM):
    """vLLM's gpt-oss of these layers."""

    def __init__(self, *, vllm_config: VllmConfig, prefix: str = "") -> None:
        config = vllm_config.model_config.hf_config
        super().__init__(vllm_config=with_config(vllm_config, without_layers(config)), prefix=prefix)
        self.config = config

        def make(layer_idx: int, layer_prefix: str) -> nn.Module:
            return HeterogeneousGptOssDecoderLayer(config, layer_idx, vllm_config, layer_prefix)

        put_layers(self.model, config, make, maybe_prefix(prefix, "model"))
        self.model.norm.variance_epsilon = config.rms_norm_eps

    def load_weights(self, weights: Iterable[tuple[str, torch.Tensor]]) -> set[str]:
        """By layer: vLLM splits experts by the numbers of one config, which is that of the layer whose they are."""
        loaded: set[str] = set()
        for layer_idx, group in groupby(weights, lambda weight: layer_of(weight[0])):
            config = self.config
            self.model.config = largest(config) if layer_idx is None else config.per_layer_config[layer_idx]
            loaded |= super().load_weights(group)
        self.model.config = largest(self.config)
        return loaded


def layer_of(name: str) -> int | None:
    """The layer that a tensor is of."""
    _, found, rest = name.partition("layers.")
    return int(rest.partition(".")[0]) if found else None
