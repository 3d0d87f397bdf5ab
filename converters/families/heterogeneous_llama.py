"""Our own family `heterogeneous_llama`: the names and shapes of its tensors."""

from typing import Any

from transformers_heterogeneous.configuration_heterogeneous_llama import HeterogeneousLlamaConfig

from ..engine.headers import Shape
from .family import Family, LayerFacts
from .parts import attention_shapes, linear_shapes, sizes_of, under


def layer_shapes(config: Any, layer_idx: int) -> dict[str, Shape]:
    """Names and shapes of one layer's tensors; a sub-block that is not there has none, not even a norm."""
    shapes: dict[str, Shape] = {}
    if config.mixer_types[layer_idx] != "none":
        shapes |= {"input_layernorm.weight": (config.hidden_size,)} | under(
            "self_attn", mixer_shapes(config, layer_idx)
        )
    if config.mlp_types[layer_idx] != "none":
        shapes |= {"post_attention_layernorm.weight": (config.hidden_size,)} | under(
            "mlp", mlp_shapes(config, layer_idx)
        )
    return under(f"model.layers.{layer_idx}", shapes)


def mixer_shapes(config: Any, layer_idx: int) -> dict[str, Shape]:
    """Names, inside the mixer, and shapes."""
    if config.mixer_types[layer_idx] == "linear":
        return linear_shapes("linear_attn", config.hidden_size, config.hidden_size)
    layer = sizes_of(config, layer_idx)
    return attention_shapes(
        config.hidden_size,
        config.head_dim,
        layer["num_attention_heads"],
        layer["num_key_value_heads"],
        config.attention_bias,
    )


def mlp_shapes(config: Any, layer_idx: int) -> dict[str, Shape]:
    """Names, inside the MLP, and shapes."""
    hidden_size = config.hidden_size
    if config.mlp_types[layer_idx] == "linear":
        return linear_shapes("linear_mlp", hidden_size, hidden_size)
    width = sizes_of(config, layer_idx)["intermediate_size"]
    return {
        **linear_shapes("gate_proj", width, hidden_size, config.mlp_bias),
        **linear_shapes("up_proj", width, hidden_size, config.mlp_bias),
        **linear_shapes("down_proj", hidden_size, width, config.mlp_bias),
    }


def layer_facts(config: Any, layer_idx: int) -> LayerFacts:
    """One layer in the words that all families share."""
    sizes = sizes_of(config, layer_idx)
    return LayerFacts(**sizes, cached_elements_per_token=2 * (sizes["num_key_value_heads"] or 0) * config.head_dim)


def model_shapes(config: Any) -> dict[str, Shape]:
    """Names and shapes of the tensors outside the layers; a head tied to the embedding is counted once."""
    embedding = (config.vocab_size, config.hidden_size)
    shapes: dict[str, Shape] = {"model.embed_tokens.weight": embedding, "model.norm.weight": (config.hidden_size,)}
    return shapes if config.tie_word_embeddings else {**shapes, "lm_head.weight": embedding}


def tied_shapes(config: Any) -> dict[str, Shape]:
    """A head tied to the embedding may lie on disk all the same."""
    return {"lm_head.weight": (config.vocab_size, config.hidden_size)} if config.tie_word_embeddings else {}


FAMILY = Family(
    architecture="HeterogeneousLlamaForCausalLM",
    config_class=HeterogeneousLlamaConfig,
    layer_shapes=layer_shapes,
    layer_facts=layer_facts,
    model_shapes=model_shapes,
    optional=tied_shapes,
)
