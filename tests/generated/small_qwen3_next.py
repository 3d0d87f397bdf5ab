"""Configs of small Qwen3-Nexts of every kind, and how they are built."""

import torch

from transformers import Qwen3NextConfig, Qwen3NextForCausalLM
from transformers_heterogeneous import HeterogeneousQwen3NextConfig, HeterogeneousQwen3NextForCausalLM


PARENT_CONFIG, PARENT = Qwen3NextConfig, Qwen3NextForCausalLM
CONFIG, CAUSAL = HeterogeneousQwen3NextConfig, HeterogeneousQwen3NextForCausalLM

BASE = {
    "vocab_size": 128,
    "hidden_size": 64,
    "head_dim": 16,
    "linear_conv_kernel_dim": 3,
    "linear_num_key_heads": 2,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 16,
    "max_position_embeddings": 256,
    "bos_token_id": 1,
    "eos_token_id": 127,
    "pad_token_id": 0,
}
UNIFORM = {
    **BASE,
    "num_hidden_layers": 4,
    "layer_types": ["linear_attention", "full_attention", "linear_attention", "full_attention"],
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "linear_num_value_heads": 4,
    "mlp_only_layers": [1],
    "intermediate_size": 96,
    "num_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 32,
    "shared_expert_intermediate_size": 48,
}
# A layer of each kind; every size that may vary does
MIXED = {
    **BASE,
    "num_hidden_layers": 8,
    "mixer_types": ["none", "mamba", "attention", "none", "mamba", "attention", "attention", "mamba"],
    "mlp_types": ["moe", "dense", "moe", "none", "none", "dense", "none", "moe"],
    "num_attention_heads": [None, None, 4, None, None, 4, 2, None],
    "num_key_value_heads": [None, None, 4, None, None, 1, 2, None],
    "linear_num_value_heads": [None, 4, None, None, 2, None, None, 6],
    "intermediate_size": [None, 96, None, None, None, 64, None, None],
    "num_experts": [4, None, 6, None, None, None, None, 3],
    "num_experts_per_tok": [2, None, 3, None, None, None, None, 1],
    "moe_intermediate_size": [32, None, 64, None, None, None, None, 32],
    "shared_expert_intermediate_size": [48, None, 32, None, None, None, None, 64],
}
# Half the mixers and a quarter of the MLPs gone, all else equal but for the number of experts
THINNED = {
    **UNIFORM,
    "layer_types": None,
    "mixer_types": ["mamba", "none", "none", "attention"],
    "mlp_types": ["moe", "dense", "none", "moe"],
    "num_experts": [4, None, None, 8],
}
# What is published: all sub-blocks of the parent, and experts that were pruned layer by layer
PRUNED_EXPERTS = {**UNIFORM, "mlp_only_layers": [], "num_experts": [3, 8, 5, 2]}
ATTENTION = {
    **UNIFORM,
    "layer_types": ["full_attention"] * 4,
    "num_key_value_heads": [2, 1, 4, 2],
    "mlp_only_layers": [],
}
KINDS = {
    "uniform": UNIFORM,
    "mixed": MIXED,
    "thinned": THINNED,
    "pruned_experts": PRUNED_EXPERTS,
    "attention": ATTENTION,
}


def build(fields: dict, model_class=CAUSAL, attn_implementation: str = "eager"):
    """A model with reproducible weights, in evaluation mode."""
    torch.manual_seed(0)
    config = CONFIG(**fields)
    config._attn_implementation = attn_implementation
    return model_class(config).eval()
