"""Our own family `heterogeneous_qwen3_moe`: what its models do not say."""

from transformers_heterogeneous.configuration_heterogeneous_qwen3_moe import HeterogeneousQwen3MoeConfig

from .family import Family


FAMILY = Family(HeterogeneousQwen3MoeConfig, fields={"moe": {"intermediate_size": "moe_intermediate_size"}})
