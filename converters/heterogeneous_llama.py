"""Our own family `heterogeneous_llama`: the names and shapes of its tensors, and its checkpoints."""

from collections.abc import Mapping
from typing import Any

from transformers_heterogeneous.configuration_heterogeneous_llama import HeterogeneousLlamaConfig

from .family import Family, PublishedFormat, Shape


# Module -> the sizes of its weight's dimensions (out, in), by the names that `layer_sizes` gives them
MIXERS: dict[str, dict[str, tuple[str, str]]] = {
    "attention": {
        "self_attn.q_proj": ("query", "hidden"),
        "self_attn.k_proj": ("key_value", "hidden"),
        "self_attn.v_proj": ("key_value", "hidden"),
        "self_attn.o_proj": ("hidden", "query"),
    },
    "linear": {"self_attn.linear_attn": ("hidden", "hidden")},
    "none": {},
}
MLPS: dict[str, dict[str, tuple[str, str]]] = {
    "dense": {
        "mlp.gate_proj": ("intermediate", "hidden"),
        "mlp.up_proj": ("intermediate", "hidden"),
        "mlp.down_proj": ("hidden", "intermediate"),
    },
    "linear": {"mlp.linear_mlp": ("hidden", "hidden")},
    "none": {},
}
# Sub-blocks whose modules have a bias when the config's field of this name says so
BIASES = {"attention": "attention_bias", "dense": "mlp_bias"}


def layer_sizes(config: Any, layer_idx: int) -> dict[str, int]:
    """Sizes of one layer's dimensions, in elements."""
    layer = config.per_layer_config[layer_idx]
    return {
        "hidden": config.hidden_size,
        "query": (layer.num_attention_heads or 0) * config.head_dim,
        "key_value": (layer.num_key_value_heads or 0) * config.head_dim,
        "intermediate": layer.intermediate_size or 0,
    }


def sub_block_shapes(
    config: Any, kind: str, modules: Mapping[str, tuple[str, str]], sizes: dict[str, int]
) -> dict[str, Shape]:
    """Names, inside the layer, and shapes of one sub-block's tensors, its norm excepted."""
    shapes: dict[str, Shape] = {}
    for module, dimensions in modules.items():
        shapes[f"{module}.weight"] = tuple(sizes[dimension] for dimension in dimensions)
        if kind in BIASES and getattr(config, BIASES[kind]):
            shapes[f"{module}.bias"] = (sizes[dimensions[0]],)
    return shapes


def layer_shapes(config: Any, layer_idx: int) -> dict[str, Shape]:
    """Names and shapes of one layer's tensors; a sub-block that is not there has none, not even a norm."""
    sizes = layer_sizes(config, layer_idx)
    shapes: dict[str, Shape] = {}
    for norm, kind, kinds in (
        ("input_layernorm", config.mixer_types[layer_idx], MIXERS),
        ("post_attention_layernorm", config.mlp_types[layer_idx], MLPS),
    ):
        if kind != "none":
            shapes |= {f"{norm}.weight": (config.hidden_size,)} | sub_block_shapes(config, kind, kinds[kind], sizes)
    return {f"model.layers.{layer_idx}.{name}": shape for name, shape in shapes.items()}


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
    model_shapes=model_shapes,
    optional=tied_shapes,
)
FORMAT = PublishedFormat(
    name="heterogeneous_llama",
    looks_like='model_type "heterogeneous_llama"',
    recognises=lambda config: config.get("model_type") == "heterogeneous_llama",
    family=FAMILY,
    dropped={},
)
