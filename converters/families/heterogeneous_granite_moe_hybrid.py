"""Our own family `heterogeneous_granite_moe_hybrid`: what its models do not say."""

from typing import Any

from transformers_heterogeneous.configuration_heterogeneous_granite_moe_hybrid import (
    HeterogeneousGraniteMoeHybridConfig,
)

from .family import Family


def joined(config: Any) -> dict[str, tuple[str, ...]]:
    """The experts of a layer one by one, as tools that quantise write them: gate and up projection lie in one of ours."""
    found: dict[str, tuple[str, ...]] = {}
    for layer_idx, num_experts in enumerate(config.layer_sizes("num_local_experts")):
        moe = f"model.layers.{layer_idx}.block_sparse_moe"
        experts = [f"{moe}.experts.{expert}" for expert in range(num_experts or 0)]
        if experts:
            halves = [f"{expert}.{half}.weight" for expert in experts for half in ("gate_proj", "up_proj")]
            found[f"{moe}.input_linear.weight"] = tuple(halves)
            found[f"{moe}.output_linear.weight"] = tuple(f"{expert}.down_proj.weight" for expert in experts)
    return found


FAMILY = Family(
    HeterogeneousGraniteMoeHybridConfig,
    fields={
        "mamba": {"ssm_state_size": "mamba_d_state"},
        "dense": {"intermediate_size": "shared_intermediate_size"},
    },
    joined=joined,
    concatenated={"*.input_linear.weight": lambda config: 0},  # gate, up
    other_layouts={
        "*.block_sparse_moe.experts.*": "experts one by one, and not all of them in plain numbers of one dtype"
    },
)
