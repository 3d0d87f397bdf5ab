"""Our own family `heterogeneous_llama`: the names and shapes of its tensors, and its checkpoints."""

from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from typing import Any

from transformers.activations import ACT2FN
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS
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


def problems(config: Any) -> Iterator[str]:
    """Names of functions that transformers does not have."""
    if config.hidden_act not in ACT2FN:
        yield f"hidden_act = {config.hidden_act!r}: transformers has no such activation{nearest(config.hidden_act, ACT2FN)}"
    rope_type, known = config.rope_parameters["rope_type"], {"default", *ROPE_INIT_FUNCTIONS}
    if rope_type not in known:
        yield f"rope_scaling has the type {rope_type!r}, known are {sorted(known)}"


def nearest(name: object, known: Iterable[str]) -> str:
    """A hint at the closest known name, where one is close."""
    found = get_close_matches(str(name), list(known), n=1)
    return f"; did you mean {found[0]!r}?" if found else ""


FAMILY = Family(
    architecture="HeterogeneousLlamaForCausalLM",
    config_class=HeterogeneousLlamaConfig,
    layer_shapes=layer_shapes,
    model_shapes=model_shapes,
    optional=tied_shapes,
    problems=problems,
)
FORMAT = PublishedFormat(
    name="heterogeneous_llama",
    looks_like='model_type "heterogeneous_llama"',
    recognises=lambda config: config.get("model_type") == "heterogeneous_llama",
    family=FAMILY,
    dropped={},
)
