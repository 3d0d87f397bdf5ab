"""`heterogeneous_qwen3` of vLLM's Llama with Qwen3's attention, whose queries and keys have norms."""

from typing import Any

from torch import nn
from vllm.config import VllmConfig
from vllm.model_executor.models.qwen3 import Qwen3Attention

from .llama import HeterogeneousLlamaDecoderLayer, HeterogeneousLlamaForCausalLM


class HeterogeneousQwen3DecoderLayer(HeterogeneousLlamaDecoderLayer):
    def attention(self, config: Any, vllm_config: VllmConfig, prefix: str) -> nn.Module:
        attention: nn.Module = Qwen3Attention(
            hidden_size=config.hidden_size,
            num_heads=config.num_attention_heads,
            num_kv_heads=config.num_key_value_heads,
            rope_parameters=config.rope_parameters,
            max_position=config.max_position_embeddings,
            head_dim=getattr(config, "head_dim", None),
            rms_norm_eps=config.rms_norm_eps,
            qkv_bias=config.attention_bias,
            cache_config=vllm_config.cache_config,
            quant_config=vllm_config.quant_config,
            prefix=prefix,
            per_layer_sliding_window=config.sliding_window,
        )
        return attention


class HeterogeneousQwen3ForCausalLM(HeterogeneousLlamaForCausalLM):
    layer_type = HeterogeneousQwen3DecoderLayer
