"""Configs of small Nemotron-H models of every kind, and how they are built."""

import torch

from transformers import NemotronHConfig, NemotronHForCausalLM
from transformers_heterogeneous import HeterogeneousNemotronHConfig, HeterogeneousNemotronHForCausalLM


PARENT_CONFIG, PARENT = NemotronHConfig, NemotronHForCausalLM
CONFIG, CAUSAL = HeterogeneousNemotronHConfig, HeterogeneousNemotronHForCausalLM

BASE = {
    "vocab_size": 128,
    "hidden_size": 32,
    "head_dim": 8,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "mamba_num_heads": 4,
    "mamba_head_dim": 8,
    "n_groups": 2,
    "ssm_state_size": 8,
    "chunk_size": 4,
    "intermediate_size": 48,
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 16,
    "moe_shared_expert_intermediate_size": 24,
    "routed_scaling_factor": 2.5,
    "bos_token_id": 1,
    "eos_token_id": 127,
    "pad_token_id": 0,
}
UNIFORM = {**BASE, "layers_block_type": ["mamba", "moe", "attention", "mlp", "mamba", "moe"]}
# One layer of each kind, twice, everything that can vary varies, and a layer with nothing in it
MIXED = {
    **BASE,
    "mixer_types": ["none", "mamba", "none", "attention", "none", "none", "mamba", "none", "attention", "none"],
    "mlp_types": ["moe", "none", "dense", "none", "none", "moe", "none", "moe", "none", "dense"],
    "num_key_value_heads": [None, None, None, 1, None, None, None, None, 4, None],
    "ssm_state_size": [None, 8, None, None, None, None, 12, None, None, None],
    "intermediate_size": [None, None, 24, None, None, None, None, None, None, 56],
    "n_routed_experts": [4, None, None, None, None, 8, None, 6, None, None],
    "num_experts_per_tok": [2, None, None, None, None, 3, None, 1, None, None],
    "moe_intermediate_size": [16, None, None, None, None, 8, None, 24, None, None],
    "moe_latent_size": [None, None, None, None, None, 16, None, 8, None, None],
    "moe_shared_expert_intermediate_size": [24, None, None, None, None, 40, None, 8, None, None],
}
# The shape of Puzzle-75B: mamba, experts behind a latent projection, a few layers that attend
PUZZLE = {
    **BASE,
    "mixer_types": ["mamba", "none", "mamba", "none", "mamba", "attention", "none", "mamba", "none"],
    "mlp_types": ["none", "moe", "none", "moe", "none", "none", "moe", "none", "moe"],
    "ssm_state_size": 12,
    "n_routed_experts": 8,
    "num_experts_per_tok": [None, 1, None, 4, None, None, 3, None, 2],
    "moe_intermediate_size": [None, 8, None, 24, None, None, 16, None, 16],
    "moe_latent_size": 16,
    "n_group": 2,
    "topk_group": 1,
}
# No mamba and no experts
ATTENDING = {
    **BASE,
    "mixer_types": ["attention", "none", "attention", "none", "none", "attention"],
    "mlp_types": ["none", "dense", "none", "none", "dense", "none"],
    "num_key_value_heads": [4, None, 2, None, None, 1],
    "intermediate_size": [None, 48, None, None, 24, None],
}
KINDS = {"uniform": UNIFORM, "mixed": MIXED, "puzzle": PUZZLE, "attending": ATTENDING}


def build(fields: dict, model_class=HeterogeneousNemotronHForCausalLM, attn_implementation: str = "eager"):
    """A model with reproducible weights, in evaluation mode."""
    torch.manual_seed(0)
    config = HeterogeneousNemotronHConfig(**fields)
    config._attn_implementation = attn_implementation
    model = model_class(config).eval()
    for name, buffer in model.named_buffers():
        if name.endswith("e_score_correction_bias"):  # zero when new, and then no test sees whether it is used
            buffer.copy_(torch.linspace(-0.1, 0.1, len(buffer)))
    return model
