"""Our own family `heterogeneous_granite_moe_hybrid`: the names and shapes of its tensors."""

from typing import Any

from transformers_heterogeneous.configuration_heterogeneous_granite_moe_hybrid import (
    HeterogeneousGraniteMoeHybridConfig,
)

from ..engine.headers import Shape
from .family import Family, LayerFacts
from .heterogeneous_llama import model_shapes, tied_shapes
from .parts import attention_shapes, mamba_shapes, mamba_state, sizes_of, under


def layer_shapes(config: Any, layer_idx: int) -> dict[str, Shape]:
    """Names and shapes of one layer's tensors; a sub-block that is not there has none, not even a norm."""
    shapes: dict[str, Shape] = {}
    if config.mixer_types[layer_idx] != "none":
        shapes |= {"input_layernorm.weight": (config.hidden_size,), **mixer_shapes(config, layer_idx)}
    if config.mlp_types[layer_idx] != "none":
        shapes |= {"post_attention_layernorm.weight": (config.hidden_size,), **mlp_shapes(config, layer_idx)}
    return under(f"model.layers.{layer_idx}", shapes)


def mixer_shapes(config: Any, layer_idx: int) -> dict[str, Shape]:
    """Names, inside the layer, and shapes of attention or Mamba."""
    if config.mixer_types[layer_idx] == "mamba":
        mixer = mamba_shapes(
            hidden_size=config.hidden_size,
            bias=config.mamba_proj_bias,
            conv_bias=config.mamba_conv_bias,
            **mamba_sizes(config),
        )
        return under("mamba", mixer)
    num_key_value_heads = sizes_of(config, layer_idx)["num_key_value_heads"]
    head_dim = config.hidden_size // config.num_attention_heads
    projections = attention_shapes(
        config.hidden_size, head_dim, config.num_attention_heads, num_key_value_heads, config.attention_bias
    )
    return under("self_attn", projections)


def mamba_sizes(config: Any) -> dict[str, int]:
    """Sizes of a Mamba mixer, the same in all layers."""
    return {
        "num_heads": config.mamba_n_heads,
        "head_dim": config.mamba_d_head,
        "state_size": config.mamba_d_state,
        "num_groups": config.mamba_n_groups,
        "conv_kernel": config.mamba_d_conv,
    }


def mlp_shapes(config: Any, layer_idx: int) -> dict[str, Shape]:
    """Names, inside the layer, and shapes of the shared MLP and, in a layer of type `moe`, of router and experts."""
    hidden_size, layer = config.hidden_size, sizes_of(config, layer_idx)
    width, num_experts = layer["shared_intermediate_size"], layer["num_local_experts"]
    shared: dict[str, Shape] = {
        "shared_mlp.input_linear.weight": (2 * width, hidden_size),
        "shared_mlp.output_linear.weight": (hidden_size, width),
    }
    if config.mlp_types[layer_idx] == "dense":
        return shared
    routed: dict[str, Shape] = {
        "router.layer.weight": (num_experts, hidden_size),
        "input_linear.weight": (num_experts, 2 * layer["intermediate_size"], hidden_size),
        "output_linear.weight": (num_experts, hidden_size, layer["intermediate_size"]),
    }
    return shared | under("block_sparse_moe", routed)


def layer_facts(config: Any, layer_idx: int) -> LayerFacts:
    """One layer in the words that all families share. A dense MLP is the shared one, without experts beside it."""
    sizes = sizes_of(config, layer_idx)
    mixer, mlp = config.mixer_types[layer_idx], config.mlp_types[layer_idx]
    conv_state, recurrent_state = mamba_state(**mamba_sizes(config)) if mixer == "mamba" else (0, 0)
    head_dim = config.hidden_size // config.num_attention_heads
    shared = sizes["shared_intermediate_size"]
    return LayerFacts(
        num_attention_heads=config.num_attention_heads if mixer == "attention" else None,
        num_key_value_heads=sizes["num_key_value_heads"],
        ssm_state_size=config.mamba_d_state if mixer == "mamba" else None,
        intermediate_size=shared if mlp == "dense" else sizes["intermediate_size"],
        num_experts=sizes["num_local_experts"],
        num_experts_per_tok=sizes["num_experts_per_tok"],
        shared_intermediate_size=shared if mlp == "moe" else None,
        cached_elements_per_token=2 * (sizes["num_key_value_heads"] or 0) * head_dim,
        conv_state_elements=conv_state,
        recurrent_state_elements=recurrent_state,
    )


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
    architecture="HeterogeneousGraniteMoeHybridForCausalLM",
    config_class=HeterogeneousGraniteMoeHybridConfig,
    layer_shapes=layer_shapes,
    layer_facts=layer_facts,
    model_shapes=model_shapes,
    optional=tied_shapes,
    joined=joined,
    other_layouts={
        "*.block_sparse_moe.experts.*": "experts one by one, and not all of them in plain numbers of one dtype"
    },
    fused_mlp="shared_mlp",
)
