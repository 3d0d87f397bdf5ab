"""Our own family `heterogeneous_nemotron_h`: what its models do not say."""

from transformers_heterogeneous.configuration_heterogeneous_nemotron_h import HeterogeneousNemotronHConfig

from .family import Family


FAMILY = Family(
    HeterogeneousNemotronHConfig,
    fields={
        "moe": {
            "intermediate_size": "moe_intermediate_size",
            "shared_intermediate_size": "moe_shared_expert_intermediate_size",
        }
    },
    # Before B and C of each group: what is convolved beside them, and before that the gate
    concatenated={
        "*.mixer.conv1d.*": lambda config: config.mamba_num_heads * config.mamba_head_dim,
        "*.mixer.in_proj.weight": lambda config: 2 * config.mamba_num_heads * config.mamba_head_dim,
    },
)
