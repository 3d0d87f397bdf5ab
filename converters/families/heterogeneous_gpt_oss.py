"""Our own family `heterogeneous_gpt_oss`: the names and shapes of its tensors."""

from typing import Any

from transformers_heterogeneous.configuration_heterogeneous_gpt_oss import HeterogeneousGptOssConfig

from ..engine.headers import Shape
from .family import Family, LayerFacts
from .heterogeneous_llama import model_shapes, tied_shapes
from .parts import attention_shapes, sizes_of, under


# Beside the weights of gpt-oss-puzzle
SERVERS_SCALES = {
    f"*.self_attn.{name}_scale": "scale of a KV cache in FP8, which transformers keeps in the model's dtype"
    for name in ("k", "v", "q")
}


def layer_shapes(config: Any, layer_idx: int) -> dict[str, Shape]:
    """Names and shapes of one layer's tensors; a sub-block that is not there has none, not even a norm."""
    hidden_size, layer = config.hidden_size, sizes_of(config, layer_idx)
    shapes: dict[str, Shape] = {}
    if config.mixer_types[layer_idx] == "attention":
        projections = attention_shapes(
            hidden_size,
            config.head_dim,
            config.num_attention_heads,
            layer["num_key_value_heads"],
            config.attention_bias,
        )
        shapes |= {"input_layernorm.weight": (hidden_size,)}
        shapes |= under("self_attn", {**projections, "sinks": (config.num_attention_heads,)})
    if config.mlp_types[layer_idx] == "moe":
        shapes |= {"post_attention_layernorm.weight": (hidden_size,)}
        shapes |= under("mlp", moe_shapes(hidden_size, layer["num_local_experts"], layer["intermediate_size"]))
    return under(f"model.layers.{layer_idx}", shapes)


def moe_shapes(hidden_size: int, num_experts: int, width: int) -> dict[str, Shape]:
    """Router and experts, inside the MLP; gate and up projection of an expert alternate in one tensor."""
    return {
        "router.weight": (num_experts, hidden_size),
        "router.bias": (num_experts,),
        "experts.gate_up_proj": (num_experts, hidden_size, 2 * width),
        "experts.gate_up_proj_bias": (num_experts, 2 * width),
        "experts.down_proj": (num_experts, width, hidden_size),
        "experts.down_proj_bias": (num_experts, hidden_size),
    }


def layer_facts(config: Any, layer_idx: int) -> LayerFacts:
    """One layer in the words that all families share."""
    sizes = sizes_of(config, layer_idx)
    attends = config.mixer_types[layer_idx] == "attention"
    return LayerFacts(
        num_attention_heads=config.num_attention_heads if attends else None,
        num_key_value_heads=sizes["num_key_value_heads"],
        sliding_window=sizes["sliding_window"],
        intermediate_size=sizes["intermediate_size"],
        num_experts=sizes["num_local_experts"],
        num_experts_per_tok=sizes["num_experts_per_tok"],
        cached_elements_per_token=2 * (sizes["num_key_value_heads"] or 0) * config.head_dim,
    )


FAMILY = Family(
    architecture="HeterogeneousGptOssForCausalLM",
    config_class=HeterogeneousGptOssConfig,
    layer_shapes=layer_shapes,
    layer_facts=layer_facts,
    model_shapes=model_shapes,
    optional=tied_shapes,
    unused=SERVERS_SCALES,
    other_layouts={
        f"*.mlp.experts.{module}_projs.*": "experts as lists of linear maps, as tools that quantise make them"
        for module in ("gate_up", "down")
    },
)
