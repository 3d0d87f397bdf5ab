"""Our own family `heterogeneous_llama4_text`: what its models do not say."""

from transformers_heterogeneous.configuration_heterogeneous_llama4_text import HeterogeneousLlama4TextConfig

from .family import Family


FAMILY = Family(
    HeterogeneousLlama4TextConfig,
    fields={
        "dense": {"intermediate_size": "intermediate_size_mlp"},
        "moe": {"shared_intermediate_size": "intermediate_size"},
    },
    concatenated={"*.experts.gate_up_proj": lambda config: 0},
)
