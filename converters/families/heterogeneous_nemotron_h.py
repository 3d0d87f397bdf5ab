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
)
