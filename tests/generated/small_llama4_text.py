"""Configs of small text models of Llama 4 of every kind, and how they are built."""

import torch

from transformers import Llama4ForCausalLM, Llama4TextConfig
from transformers_heterogeneous import HeterogeneousLlama4ForCausalLM, HeterogeneousLlama4TextConfig


PARENT_CONFIG, PARENT = Llama4TextConfig, Llama4ForCausalLM
CONFIG, CAUSAL = HeterogeneousLlama4TextConfig, HeterogeneousLlama4ForCausalLM

BASE = {
    "vocab_size": 128,
    "hidden_size": 64,
    "head_dim": 16,
    "attention_chunk_size": 5,
    "floor_scale": 4,  # of the 14 tokens that most tests read those behind it are scaled
    "max_position_embeddings": 256,
    "bos_token_id": 1,
    "eos_token_id": 127,
    "pad_token_id": 0,
}
# Every other layer in chunks and with positions, every other one dense
UNIFORM = {
    **BASE,
    "num_hidden_layers": 4,
    "no_rope_layers": [1, 0, 1, 0],
    "moe_layers": [1, 2],
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 32,
    "intermediate_size_mlp": 96,
    "num_local_experts": 4,
    "num_experts_per_tok": 2,
}
# A layer of each kind; every size that may vary does. The fourth has nothing in it, the seventh positions but no chunks
MIXED = {
    **BASE,
    "num_hidden_layers": 8,
    "mixer_types": ["none", "attention", "attention", "none", "attention", "attention", "attention", "none"],
    "mlp_types": ["moe", "dense", "moe", "none", "none", "dense", "moe", "dense"],
    "layer_types": [
        *("full_attention", "chunked_attention", "full_attention", "full_attention"),
        *("chunked_attention", "full_attention", "full_attention", "full_attention"),
    ],
    "no_rope_layers": [1, 1, 0, 1, 1, 0, 1, 1],
    "num_attention_heads": [None, 4, 4, None, 2, 4, 8, None],
    "num_key_value_heads": [None, 2, 4, None, 1, 1, 2, None],
    "intermediate_size": [32, None, 48, None, None, None, 32, None],
    "intermediate_size_mlp": [None, 96, None, None, None, 64, None, 32],
    "num_local_experts": [4, None, 6, None, None, None, 3, None],
    "num_experts_per_tok": [2, None, 3, None, None, None, 1, None],
}
THINNED = {
    **UNIFORM,
    "num_hidden_layers": 5,
    "no_rope_layers": [1, 1, 0, 1, 1],
    "moe_layers": None,
    "mixer_types": ["none", "attention", "attention", "none", "attention"],
    "mlp_types": ["moe", "dense", "moe", "dense", "moe"],
    "num_local_experts": [4, None, 8, None, 2],
}
KINDS = {"uniform": UNIFORM, "mixed": MIXED, "thinned": THINNED, "whole": {**THINNED, "attention_chunk_size": None}}


def build(fields: dict, model_class=CAUSAL, attn_implementation: str = "eager"):
    """A model with reproducible weights, in evaluation mode."""
    torch.manual_seed(0)
    config = CONFIG(**fields)
    config._attn_implementation = attn_implementation
    return model_class(config).eval()
