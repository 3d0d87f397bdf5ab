"""Our own family `heterogeneous_gpt_oss`: what its models do not say."""

from transformers_heterogeneous.configuration_heterogeneous_gpt_oss import HeterogeneousGptOssConfig

from .family import Family


FAMILY = Family(
    HeterogeneousGptOssConfig,
    other_layouts={
        f"*.mlp.experts.{module}_projs.*": "experts as lists of linear maps, as tools that quantise make them"
        for module in ("gate_up", "down")
    },
)
