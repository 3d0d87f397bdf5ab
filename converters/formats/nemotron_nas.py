"""
NVIDIA's `nemotron-nas`: Llama-Nemotron Super 49B, Ultra 253B, 51B.

Layers are described by `block_configs`, in three dialects. Tensor names are Llama's; a
sub-block that is a no-op has no tensors.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from transformers_heterogeneous.configuration_heterogeneous_llama import HeterogeneousLlamaConfig

from ..families import family_of
from ..families.family import ByLayer
from . import llama_blocks
from .block_fields import require_blocks
from .expression import other_types, refuse_inexpressible, shared_fields, varying_sizes, without
from .published_format import PublishedFormat


def recognises(config: Mapping[str, Any]) -> bool:
    """By its model type; the first uploads had none."""
    untyped = config.get("model_type") is None and config.get("architectures") == ["DeciLMForCausalLM"]
    return config.get("model_type") == "nemotron-nas" or (untyped and "block_configs" in config)


# What vLLM, llama.cpp and TensorRT-LLM expect in every block beside what is said of it
REST_OF_ATTENTION = {
    "num_sink_tokens": None,
    "sparsify": None,
    "unshifted_sink": False,
    "use_prefill_window_in_sink_attention": False,
}
NOT_THERE = {"no_op": True, "replace_with_linear": False}
LINEAR = {"no_op": False, "replace_with_linear": True}
THERE = {"no_op": False, "replace_with_linear": False}


def ffn_mult(intermediate_size: int, hidden_size: int) -> float:
    """The multiplier that this width is read from."""
    return 3 * intermediate_size / (2 * hidden_size)


def problems(config: Any) -> Iterator[str]:
    yield from other_types(config, "mixer_types", ("attention", "linear", "none"))
    yield from varying_sizes(config, allowed=("num_key_value_heads", "intermediate_size", "sliding_window"))
    for layer_idx, size in enumerate(config.layer_sizes("intermediate_size")):
        multiple = size is None or llama_blocks.ffn_mult_to_intermediate_size(
            ffn_mult(size, config.hidden_size), config.hidden_size
        )
        if size is not None and multiple != size:
            yield f"intermediate_size[{layer_idx}] = {size}: a multiple of 256 is needed, ffn_mult says no others"


def block_config(config: Any, layer_idx: int) -> dict[str, Any]:
    """One layer in the schema that Super 49B and Ultra 253B were published in."""
    mixer, mlp = config.mixer_types[layer_idx], config.mlp_types[layer_idx]
    num_key_value_heads = config.layer_sizes("num_key_value_heads")[layer_idx]
    width = config.layer_sizes("intermediate_size")[layer_idx]
    attends, feeds = mixer == "attention", mlp == "dense"
    attention = {
        "n_heads_in_group": config.num_attention_heads // num_key_value_heads if attends else None,
        **(THERE if attends else LINEAR if mixer == "linear" else NOT_THERE),
        **REST_OF_ATTENTION,
        "window_length": config.layer_sizes("sliding_window")[layer_idx],
    }
    ffn = {
        "ffn_mult": ffn_mult(width, config.hidden_size) if feeds else None,
        **(THERE if feeds else LINEAR if mlp == "linear" else NOT_THERE),
        "sparsify": None,
    }
    return {"attention": attention, "ffn": ffn}


def write_config(config: Any) -> dict[str, Any]:
    """NVIDIA's config.json, for the servers that read it."""
    refuse_inexpressible("nemotron-nas", problems(config))
    fields = without(shared_fields(config, "nemotron-nas", "DeciLMForCausalLM"), "sliding_window")
    layers = ByLayer(config)
    blocks = [block_config(layers, layer_idx) for layer_idx in range(config.num_hidden_layers)]
    return {**fields, "block_configs": blocks, "intermediate_size": None, "num_key_value_heads": None}


class NemotronNasConfig(HeterogeneousLlamaConfig):  # type: ignore[misc]
    """Reads the config of a published `nemotron-nas` checkpoint; what it returns is a [`HeterogeneousLlamaConfig`]."""

    model_type = "nemotron-nas"

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs: Any) -> Any:
        require_blocks("nemotron-nas", config_dict)
        return HeterogeneousLlamaConfig.from_dict(config_dict, **kwargs)


FORMAT = PublishedFormat(
    name="nemotron-nas",
    looks_like='model_type "nemotron-nas", or none with block_configs and the architecture DeciLMForCausalLM',
    recognises=recognises,
    family=family_of(HeterogeneousLlamaConfig),
    config_class=NemotronNasConfig,
    readers={"block_configs": llama_blocks.read},
    before=("deci",),
    dropped={"*.rotary_emb.inv_freq": "buffer of rotary embeddings, computed from the config"},
    write_config=write_config,
)
