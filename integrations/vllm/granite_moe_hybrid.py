"""`heterogeneous_granite_moe_hybrid` of vLLM's Granite."""

from typing import Any

import torch
from torch import nn
from vllm.config import VllmConfig
from vllm.model_executor.layers.layernorm import RMSNorm
from vllm.model_executor.layers.mamba.mamba_mixer2 import MambaMixer2
from vllm.model_executor.models.granitemoe import GraniteMoeMoE
from vllm.model_executor.models.granitemoehybrid import GraniteMoeHybridAttention, GraniteMoeHybridForCausalLM
from vllm.model_executor.models.granitemoeshared import GraniteMoeSharedMLP
from vllm.model_executor.models.utils import maybe_prefix

from .layer_building import put_layers, with_config
from .views import without_layers


def mamba(config: Any, vllm_config: VllmConfig, prefix: str) -> MambaMixer2:
    """vLLM's mixer with the sizes of Granite's."""
    return MambaMixer2(
        hidden_size=config.hidden_size,
        ssm_state_size=config.mamba_d_state,
        conv_kernel_size=config.mamba_d_conv,
        intermediate_size=config.mamba_expand * config.hidden_size,
        use_conv_bias=config.mamba_conv_bias,
        use_bias=config.mamba_proj_bias,
        n_groups=config.mamba_n_groups,
        num_heads=config.mamba_n_heads,
        head_dim=config.mamba_d_head,
        rms_norm_eps=config.rms_norm_eps,
        activation=config.hidden_act,
        model_config=vllm_config.model_config,
        cache_config=vllm_config.cache_config,
        quant_config=vllm_config.quant_config,
        prefix=prefix,
    )


class HeterogeneousGraniteMoeHybridDecoderLayer(nn.Module):
    """Layer `i` of the sizes in `per_layer_config[i]`, with what it is made of and nothing else."""

    def __init__(self, model_config: Any, layer_idx: int, vllm_config: VllmConfig, prefix: str) -> None:
        super().__init__()
        self.mixer_type, self.mlp_type = model_config.mixer_types[layer_idx], model_config.mlp_types[layer_idx]
        config, quant_config = model_config.per_layer_config[layer_idx], vllm_config.quant_config
        self.residual_multiplier = config.residual_multiplier
        if self.mixer_type == "mamba":
            self.mamba = mamba(config, vllm_config, f"{prefix}.mamba")
        elif self.mixer_type == "attention":
            self.self_attn = GraniteMoeHybridAttention(
                config, cache_config=vllm_config.cache_config, quant_config=quant_config, prefix=f"{prefix}.self_attn"
            )
        if self.mlp_type == "moe":
            self.block_sparse_moe = GraniteMoeMoE(
                num_experts=config.num_local_experts,
                top_k=config.num_experts_per_tok,
                hidden_size=config.hidden_size,
                intermediate_size=config.intermediate_size,
                quant_config=quant_config,
                prefix=f"{prefix}.block_sparse_moe",
            )
        if self.mlp_type != "none":
            self.shared_mlp = GraniteMoeSharedMLP(config, quant_config=quant_config, prefix=f"{prefix}.shared_mlp")
            self.post_attention_layernorm = RMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        if self.mixer_type != "none":
            self.input_layernorm = RMSNorm(config.hidden_size, eps=config.rms_norm_eps)

    def forward(
        self, positions: torch.Tensor, hidden_states: torch.Tensor, residual: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The residual stream, twice: vLLM's Granite adds in each layer, and hands on two all the same."""
        if self.mixer_type != "none":
            mixed = self.input_layernorm(hidden_states)
            mixed = self.mamba(mixed) if self.mixer_type == "mamba" else self.self_attn(positions, mixed)
            hidden_states = hidden_states + mixed * self.residual_multiplier
        if self.mlp_type != "none":
            normed = self.post_attention_layernorm(hidden_states)
            out = self.shared_mlp(normed)
            if self.mlp_type == "moe":
                out = self.block_sparse_moe(normed.clone()) + out  # the experts write into what they are given
            hidden_states = hidden_states + out * self.residual_multiplier
        return hidden_states, hidden_states


class HeterogeneousGraniteMoeHybridForCausalLM(GraniteMoeHybridForCausalLM):
    """vLLM's Granite of these layers."""

    def __init__(self, *, vllm_config: VllmConfig, prefix: str = "") -> None:
        config = vllm_config.model_config.hf_config
        super().__init__(vllm_config=with_config(vllm_config, without_layers(config)), prefix=prefix)
        self.config = config

        def make(layer_idx: int, layer_prefix: str) -> nn.Module:
            return HeterogeneousGraniteMoeHybridDecoderLayer(config, layer_idx, vllm_config, layer_prefix)

        put_layers(self.model, config, make, maybe_prefix(prefix, "model"))
