"""Configs of small models of every kind, and how they are built."""

import torch

from transformers import LlamaConfig, LlamaForCausalLM
from transformers_heterogeneous import HeterogeneousLlamaConfig, HeterogeneousLlamaForCausalLM


BASE = {
    "vocab_size": 128,
    "hidden_size": 64,
    "head_dim": 16,
    "max_position_embeddings": 256,
    "bos_token_id": 1,
    "eos_token_id": 127,
    "pad_token_id": 0,
}
# One layer of each kind: two windows and full attention, three numbers of KV heads, two of query heads,
# linear replacements, single sub-blocks, a layer with nothing in it.
MIXED = {
    **BASE,
    "num_hidden_layers": 8,
    "mixer_types": ["none", "attention", "attention", "linear", "none", "attention", "attention", "attention"],
    "mlp_types": ["dense", "dense", "dense", "linear", "none", "dense", "none", "dense"],
    "num_attention_heads": [None, 4, 4, None, None, 4, 2, 4],
    "num_key_value_heads": [None, 4, 2, None, None, 1, 1, 2],
    "intermediate_size": [64, 96, 128, None, None, 32, None, 96],
    "sliding_window": [None, None, 5, None, None, 9, None, None],
}
# No attention in two of five layers, all else equal: what upstream's continuous batching can hold
THINNED = {
    **BASE,
    "num_hidden_layers": 5,
    "mixer_types": ["attention", "none", "attention", "none", "attention"],
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": [64, 96, 32, 96, 64],
}
UNIFORM = {**BASE, "num_hidden_layers": 4, "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 96}
WINDOWED = {**THINNED, "sliding_window": 6}
HALF_WINDOWED = {**THINNED, "sliding_window": [6, None, None, None, 6]}
KINDS = {
    "uniform": UNIFORM,
    "thinned": THINNED,
    "windowed": WINDOWED,
    "half_windowed": HALF_WINDOWED,
    "mixed": MIXED,
}
CONFIG, CAUSAL = HeterogeneousLlamaConfig, HeterogeneousLlamaForCausalLM
PARENT_CONFIG, PARENT = LlamaConfig, LlamaForCausalLM


def build(fields: dict, model_class=HeterogeneousLlamaForCausalLM, attn_implementation: str = "eager"):
    """A model with reproducible weights, in evaluation mode."""
    torch.manual_seed(0)
    config = HeterogeneousLlamaConfig(**fields)
    config._attn_implementation = attn_implementation
    return model_class(config).eval()
