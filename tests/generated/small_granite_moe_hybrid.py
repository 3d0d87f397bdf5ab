"""Configs of small Granite hybrids of every kind, and how they are built."""

import torch

from transformers import GraniteMoeHybridConfig, GraniteMoeHybridForCausalLM
from transformers_heterogeneous import HeterogeneousGraniteMoeHybridConfig, HeterogeneousGraniteMoeHybridForCausalLM


PARENT_CONFIG, PARENT = GraniteMoeHybridConfig, GraniteMoeHybridForCausalLM
CONFIG, CAUSAL = HeterogeneousGraniteMoeHybridConfig, HeterogeneousGraniteMoeHybridForCausalLM

BASE = {
    "vocab_size": 128,
    "hidden_size": 64,
    "num_attention_heads": 4,
    "mamba_n_heads": 8,
    "mamba_n_groups": 2,
    "mamba_d_state": 16,
    "mamba_chunk_size": 4,  # of the 14 tokens that most tests read the last chunk is not full
    "embedding_multiplier": 6.0,
    "attention_multiplier": 0.3,
    "residual_multiplier": 0.5,
    "logits_scaling": 2.0,
    "initializer_range": 0.1,
    "max_position_embeddings": 256,
    "bos_token_id": 1,
    "eos_token_id": 127,
    "pad_token_id": 0,
}
UNIFORM = {
    **BASE,
    "num_hidden_layers": 4,
    "layer_types": ["linear_attention", "full_attention", "linear_attention", "full_attention"],
    "position_embedding_type": "rope",
    "num_key_value_heads": 2,
    "num_local_experts": 6,
    "num_experts_per_tok": 2,
    "intermediate_size": 24,
    "shared_intermediate_size": 40,
}
WITHOUT_ROPE = {**UNIFORM, "position_embedding_type": None}
DENSE = {**UNIFORM, "num_local_experts": 0}
# One layer of each kind, all sizes vary: routed experts, their number a token and their width, shared widths, KV heads
MIXED = {
    **BASE,
    "num_hidden_layers": 8,
    "mixer_types": ["none", "mamba", "attention", "none", "mamba", "attention", "attention", "mamba"],
    "mlp_types": ["moe", "dense", "moe", "none", "none", "dense", "none", "moe"],
    "position_embedding_type": "rope",
    "num_key_value_heads": [None, None, 4, None, None, 1, 2, None],
    "num_local_experts": [4, None, 6, None, None, None, None, 3],
    "num_experts_per_tok": [2, None, 3, None, None, None, None, 1],
    "intermediate_size": [24, None, 16, None, None, None, None, 40],
    "shared_intermediate_size": [40, 56, 24, None, None, 24, None, 32],
}
MIXED_WITHOUT_ROPE = {**MIXED, "position_embedding_type": None}
# Half the mixers and half the experts gone, all else equal
THINNED = {
    **UNIFORM,
    "layer_types": None,
    "mixer_types": ["mamba", "none", "none", "attention"],
    "mlp_types": ["moe", "dense", "none", "moe"],
}
ATTENTION = {**UNIFORM, "layer_types": ["full_attention"] * 4, "num_key_value_heads": [2, 1, 4, 2]}
KINDS = {
    "uniform": UNIFORM,
    "without_rope": WITHOUT_ROPE,
    "dense": DENSE,
    "mixed": MIXED,
    "mixed_without_rope": MIXED_WITHOUT_ROPE,
    "thinned": THINNED,
    "attention": ATTENTION,
}


def build(fields: dict, model_class=CAUSAL, attn_implementation: str = "eager"):
    """A model with reproducible weights, in evaluation mode."""
    torch.manual_seed(0)
    config = CONFIG(**fields)
    config._attn_implementation = attn_implementation
    return model_class(config).eval()
