"""Configs of small gpt-oss models of every kind, and how they are built."""

import torch

from transformers import GptOssConfig, GptOssForCausalLM
from transformers_heterogeneous import HeterogeneousGptOssConfig, HeterogeneousGptOssForCausalLM


PARENT_CONFIG, PARENT = GptOssConfig, GptOssForCausalLM
CONFIG, CAUSAL = HeterogeneousGptOssConfig, HeterogeneousGptOssForCausalLM

# Widths are multiples of 32, which is what MXFP4 packs together
BASE = {
    "vocab_size": 128,
    "hidden_size": 64,
    "head_dim": 16,
    "num_attention_heads": 4,
    "max_position_embeddings": 256,
    "rope_parameters": {
        "rope_type": "yarn",
        "rope_theta": 150000.0,
        "factor": 4.0,
        "beta_fast": 32.0,
        "beta_slow": 1.0,
        "truncate": False,
        "original_max_position_embeddings": 64,
    },
    "initializer_range": 0.06,
    "bos_token_id": 1,
    "eos_token_id": 127,
    "pad_token_id": 0,
}
# As published: window and full attention alternate
UNIFORM = {
    **BASE,
    "num_hidden_layers": 4,
    "num_key_value_heads": 2,
    "num_local_experts": 4,
    "num_experts_per_tok": 2,
    "intermediate_size": 32,
    "sliding_window": 6,
}
# One layer of each kind, all sizes vary: experts, their number a token and their width, KV heads, two windows
MIXED = {
    **BASE,
    "num_hidden_layers": 8,
    "mixer_types": ["none", "attention", "attention", "attention", "none", "attention", "attention", "attention"],
    "mlp_types": ["moe", "moe", "moe", "none", "none", "moe", "moe", "moe"],
    "num_key_value_heads": [None, 2, 4, 1, None, 2, 1, 4],
    "num_local_experts": [4, 6, 3, None, None, 8, 5, 4],
    "num_experts_per_tok": [2, 3, 1, None, None, 4, 2, 2],
    "intermediate_size": [32, 64, 32, None, None, 96, 32, 64],
    "sliding_window": [None, None, 5, 9, None, None, 5, None],
}
# No attention in two of five layers, fewer experts in some, all else equal: what upstream's continuous batching can hold
THINNED = {
    **UNIFORM,
    "num_hidden_layers": 5,
    "mixer_types": ["attention", "none", "attention", "none", "attention"],
    "num_local_experts": [4, 8, 4, 2, 4],
    "sliding_window": None,
}
WINDOWED = {**THINNED, "sliding_window": 6}
HALF_WINDOWED = {**THINNED, "sliding_window": [6, None, None, None, 6]}
# As gpt-oss-puzzle-88B: two windows and full attention, half the experts in the later layers
PUZZLE = {**UNIFORM, "num_local_experts": [8, 8, 4, 4], "sliding_window": [4, None, 4, 9]}
KINDS = {
    "uniform": UNIFORM,
    "thinned": THINNED,
    "windowed": WINDOWED,
    "half_windowed": HALF_WINDOWED,
    "puzzle": PUZZLE,
    "mixed": MIXED,
}


def build(fields: dict, model_class=CAUSAL, attn_implementation: str = "eager"):
    """A model with reproducible weights, in evaluation mode."""
    torch.manual_seed(0)
    config = CONFIG(**fields)
    config._attn_implementation = attn_implementation
    return model_class(config).eval()
