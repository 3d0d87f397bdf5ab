"""`heterogeneous_llama` of vLLM's Llama."""

from typing import Any

import torch
from torch import nn
from vllm.config import VllmConfig
from vllm.model_executor.layers.layernorm import RMSNorm
from vllm.model_executor.layers.linear import ReplicatedLinear
from vllm.model_executor.models.llama import LlamaAttention, LlamaForCausalLM, LlamaMLP


class LinearBlock(nn.Module):
    """One matrix in the place of a sub-block, whole in each process, under the name that checkpoints give it."""

    def __init__(self, name: str, hidden_size: int, quant_config: Any, prefix: str) -> None:
        super().__init__()
        self.name = name
        matrix = ReplicatedLinear(
            hidden_size, hidden_size, bias=False, quant_config=quant_config, prefix=f"{prefix}.{name}"
        )
        self.add_module(name, matrix)

    def forward(self, hidden_states: torch.Tensor, positions: torch.Tensor | None = None) -> torch.Tensor:
        out: torch.Tensor = getattr(self, self.name)(hidden_states)[0]
        return out


class HeterogeneousLlamaDecoderLayer(nn.Module):
    """Layer `i` of the sizes in `per_layer_config[i]`, with what it is made of and nothing else."""

    def __init__(self, vllm_config: VllmConfig, prefix: str = "") -> None:
        super().__init__()
        layer_idx = int(prefix.rpartition(".")[2])
        model_config = vllm_config.model_config.hf_config
        mixer_type, mlp_type = model_config.mixer_types[layer_idx], model_config.mlp_types[layer_idx]
        self.has_mixer, self.has_mlp = mixer_type != "none", mlp_type != "none"
        config, quant_config = model_config.per_layer_config[layer_idx], vllm_config.quant_config
        if mixer_type == "attention":
            self.self_attn = self.attention(config, vllm_config, f"{prefix}.self_attn")
        elif mixer_type == "linear":
            self.self_attn = LinearBlock("linear_attn", config.hidden_size, quant_config, f"{prefix}.self_attn")
        if mlp_type == "dense":
            self.mlp = LlamaMLP(
                hidden_size=config.hidden_size,
                intermediate_size=config.intermediate_size,
                hidden_act=config.hidden_act,
                quant_config=quant_config,
                bias=getattr(config, "mlp_bias", False),
                prefix=f"{prefix}.mlp",
            )
        elif mlp_type == "linear":
            self.mlp = LinearBlock("linear_mlp", config.hidden_size, quant_config, f"{prefix}.mlp")
        if self.has_mixer:
            self.input_layernorm = RMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        if self.has_mlp:
            self.post_attention_layernorm = RMSNorm(config.hidden_size, eps=config.rms_norm_eps)

    def attention(self, config: Any, vllm_config: VllmConfig, prefix: str) -> nn.Module:
        """The attention of a layer of this config."""
        qkv_bias, o_proj_bias = self.biases(config)
        return LlamaAttention(
            config=config,
            hidden_size=config.hidden_size,
            num_heads=config.num_attention_heads,
            num_kv_heads=config.num_key_value_heads,
            max_position_embeddings=config.max_position_embeddings,
            quant_config=vllm_config.quant_config,
            bias=qkv_bias,
            bias_o_proj=o_proj_bias,
            cache_config=vllm_config.cache_config,
            prefix=prefix,
        )

    def biases(self, config: Any) -> tuple[bool, bool]:
        """Whether queries, keys and values have one, and the output."""
        bias = getattr(config, "attention_bias", False)
        return bias, bias

    def forward(
        self, positions: torch.Tensor, hidden_states: torch.Tensor, residual: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """What is yet to be added to the residual stream, and the stream, as vLLM's layers hand it on."""
        if residual is None:
            residual, hidden_states = hidden_states, torch.zeros_like(hidden_states)
        if self.has_mixer:
            hidden_states, residual = self.input_layernorm(hidden_states, residual)
            hidden_states = self.self_attn(positions=positions, hidden_states=hidden_states)
        if self.has_mlp:
            hidden_states, residual = self.post_attention_layernorm(hidden_states, residual)
            hidden_states = self.mlp(hidden_states)
        return hidden_states, residual


class HeterogeneousLlamaForCausalLM(LlamaForCausalLM):
    """vLLM's Llama of these layers. Its loader fuses the projections by name, whatever their sizes."""

    layer_type: type[nn.Module] = HeterogeneousLlamaDecoderLayer

    def __init__(self, *, vllm_config: VllmConfig, prefix: str = "") -> None:
        super().__init__(vllm_config=vllm_config, prefix=prefix, layer_type=self.layer_type)
