"""Our own family `heterogeneous_nemotron_h`: the names and shapes of its tensors."""

from typing import Any

from transformers_heterogeneous.configuration_heterogeneous_nemotron_h import HeterogeneousNemotronHConfig

from ..engine.headers import Shape
from .family import Family, LayerFacts
from .parts import attention_shapes, linear_shapes, mamba_shapes, mamba_state, sizes_of, under


# Heads that predict further tokens, which no family builds
MTP = {"mtp.*": "layers for predicting several tokens, which transformers does not build"}


def layer_shapes(config: Any, layer_idx: int) -> dict[str, Shape]:
    """Names and shapes of one layer's tensors; an empty layer has none, not even a norm. Experts are single tensors."""
    mixer, mlp = config.mixer_types[layer_idx], config.mlp_types[layer_idx]
    shapes = {
        **(MIXERS[mixer](config, layer_idx) if mixer != "none" else {}),
        **(MLPS[mlp](config, layer_idx) if mlp != "none" else {}),
    }
    if not shapes:
        return {}
    return under(f"model.layers.{layer_idx}", {"norm.weight": (config.hidden_size,), **under("mixer", shapes)})


def layer_mamba_shapes(config: Any, layer_idx: int) -> dict[str, Shape]:
    """A Mamba mixer."""
    return mamba_shapes(
        hidden_size=config.hidden_size,
        bias=config.use_bias,
        conv_bias=config.use_conv_bias,
        **mamba_sizes(config, layer_idx),
    )


def mamba_sizes(config: Any, layer_idx: int) -> dict[str, int]:
    """Sizes of one layer's Mamba mixer."""
    return {
        "num_heads": config.mamba_num_heads,
        "head_dim": config.mamba_head_dim,
        "state_size": sizes_of(config, layer_idx)["ssm_state_size"],
        "num_groups": config.n_groups,
        "conv_kernel": config.conv_kernel,
    }


def layer_attention_shapes(config: Any, layer_idx: int) -> dict[str, Shape]:
    """Attention, whose projections never have a bias."""
    num_key_value_heads = sizes_of(config, layer_idx)["num_key_value_heads"]
    return attention_shapes(config.hidden_size, config.head_dim, config.num_attention_heads, num_key_value_heads)


def mlp_shapes(config: Any, layer_idx: int) -> dict[str, Shape]:
    """An MLP without a gate."""
    return ungated_shapes(config.hidden_size, sizes_of(config, layer_idx)["intermediate_size"], config.mlp_bias)


def ungated_shapes(size: int, width: int, bias: bool = False) -> dict[str, Shape]:
    """Up and down projection between `size` and `width`."""
    return {**linear_shapes("up_proj", width, size, bias), **linear_shapes("down_proj", size, width, bias)}


def moe_shapes(config: Any, layer_idx: int) -> dict[str, Shape]:
    """Router, experts, shared expert, and the projections to the experts' latent space and back where there are some."""
    hidden_size, layer = config.hidden_size, sizes_of(config, layer_idx)
    latent_size = layer["moe_latent_size"]
    expert = ungated_shapes(latent_size or hidden_size, layer["moe_intermediate_size"])
    shapes: dict[str, Shape] = {
        "gate.weight": (layer["n_routed_experts"], hidden_size),
        "gate.e_score_correction_bias": (layer["n_routed_experts"],),
        **under(
            "shared_experts",
            ungated_shapes(hidden_size, layer["moe_shared_expert_intermediate_size"], config.mlp_bias),
        ),
    }
    if latent_size is not None:
        shapes |= linear_shapes("fc1_latent_proj", latent_size, hidden_size, config.mlp_bias)
        shapes |= linear_shapes("fc2_latent_proj", hidden_size, latent_size, config.mlp_bias)
    for expert_idx in range(layer["n_routed_experts"]):
        shapes |= under(f"experts.{expert_idx}", expert)
    return shapes


MIXERS = {"mamba": layer_mamba_shapes, "attention": layer_attention_shapes}
MLPS = {"dense": mlp_shapes, "moe": moe_shapes}


def model_shapes(config: Any) -> dict[str, Shape]:
    """Names and shapes of the tensors outside the layers."""
    embedding = (config.vocab_size, config.hidden_size)
    return {
        "model.embeddings.weight": embedding,
        "model.norm_f.weight": (config.hidden_size,),
        "lm_head.weight": embedding,
    }


def stacked(config: Any) -> dict[str, tuple[str, ...]]:
    """The experts of a layer, single on disk as a rule, may be stacked along a first dimension."""
    return {
        f"{experts}.{module}": tuple(f"{experts}.{expert_idx}.{module}.weight" for expert_idx in range(num_experts))
        for layer_idx, num_experts in enumerate(config.layer_sizes("n_routed_experts"))
        if num_experts is not None
        for experts in (f"model.layers.{layer_idx}.mixer.experts",)
        for module in ("up_proj", "down_proj")
    }


def layer_facts(config: Any, layer_idx: int) -> LayerFacts:
    """One layer in the words that all families share."""
    sizes = sizes_of(config, layer_idx)
    mixer, mlp = config.mixer_types[layer_idx], config.mlp_types[layer_idx]
    conv_state, recurrent_state = mamba_state(**mamba_sizes(config, layer_idx)) if mixer == "mamba" else (0, 0)
    return LayerFacts(
        num_attention_heads=config.num_attention_heads if mixer == "attention" else None,
        num_key_value_heads=sizes["num_key_value_heads"],
        ssm_state_size=sizes["ssm_state_size"],
        intermediate_size=sizes["moe_intermediate_size"] if mlp == "moe" else sizes["intermediate_size"],
        num_experts=sizes["n_routed_experts"],
        num_experts_per_tok=sizes["num_experts_per_tok"],
        shared_intermediate_size=sizes["moe_shared_expert_intermediate_size"],
        latent_size=sizes["moe_latent_size"],
        cached_elements_per_token=2 * (sizes["num_key_value_heads"] or 0) * config.head_dim,
        conv_state_elements=conv_state,
        recurrent_state_elements=recurrent_state,
    )


def no_optional(config: Any) -> dict[str, Shape]:
    """The head is never tied to the embedding, whatever `tie_word_embeddings` says: transformers' Nemotron-H does not tie."""
    return {}


FAMILY = Family(
    architecture="HeterogeneousNemotronHForCausalLM",
    config_class=HeterogeneousNemotronHConfig,
    layer_shapes=layer_shapes,
    layer_facts=layer_facts,
    model_shapes=model_shapes,
    optional=no_optional,
    stacked=stacked,
    buffers="*.e_score_correction_bias",
    unused=MTP,
)
