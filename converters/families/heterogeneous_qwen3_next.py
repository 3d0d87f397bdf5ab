"""Our own family `heterogeneous_qwen3_next`: what its models do not say."""

from transformers_heterogeneous.configuration_heterogeneous_qwen3_next import HeterogeneousQwen3NextConfig

from .family import Family


FAMILY = Family(
    HeterogeneousQwen3NextConfig,
    fields={
        "moe": {
            "intermediate_size": "moe_intermediate_size",
            "shared_intermediate_size": "shared_expert_intermediate_size",
        },
        "mamba": {"ssm_state_size": "linear_key_head_dim"},
    },
)
