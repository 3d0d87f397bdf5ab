"""
NVIDIA's `nemotron-nas`: Llama-Nemotron Super 49B, Ultra 253B, 51B.

Layers are described by `block_configs`, in the dialects of these (`n_heads_in_group` with `ffn_mult`, or with
`intermediate_size`); what reads them reads Puzzletron's too (`num_key_value_heads` with `intermediate_size`). Tensor names
are Llama's; a sub-block that is a no-op has no tensors.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from transformers_heterogeneous.configuration_heterogeneous import HeterogeneousConfigError
from transformers_heterogeneous.configuration_heterogeneous_llama import HeterogeneousLlamaConfig

from ..families import family_of
from ..families.family import ByLayer
from .block_fields import (
    Read,
    drop_remote_code_keys,
    impossible_choices,
    impossible_sizes,
    inexpressible_fields,
    require_blocks,
    stated,
)
from .expression import other_types, refuse_inexpressible, shared_fields, varying_sizes, without
from .published_format import PublishedFormat
from .typed_layers import or_typed


@or_typed
def read(config_class: Any, config_dict: Mapping[str, Any]) -> dict[str, Any]:
    """A config as the family has it, its layers no longer in blocks."""
    attributes = read_block_configs(config_dict["block_configs"], stated(config_class, config_dict))
    return {**drop_remote_code_keys(config_class, without(config_dict, "block_configs")), **attributes}


def ffn_mult_to_intermediate_size(ffn_mult: float, hidden_size: int) -> int:
    """DeciLM's width of a gated FFN: two thirds of `ffn_mult * hidden_size`, rounded up to a multiple of 256."""
    intermediate_size = int(2 * ffn_mult * hidden_size / 3)
    return -(-intermediate_size // 256) * 256


def read_attention(attention: dict[str, Any], num_attention_heads: int) -> Read:
    """One layer's `attention` entry as (attributes of the layer, errors)."""
    if errors := impossible_choices(attention):
        return {}, errors
    if attention.get("no_op"):
        return {"mixer_types": "none"}, []
    sizes = ("n_heads_in_group", "num_key_value_heads", "window_length")
    errors = inexpressible_fields(attention, ("no_op", "replace_with_linear", *sizes))
    if attention.get("replace_with_linear"):
        return {"mixer_types": "linear"}, errors

    errors += impossible_sizes(attention, sizes)
    group_size, num_key_value_heads = attention.get("n_heads_in_group"), attention.get("num_key_value_heads")
    if group_size is None and num_key_value_heads is None:
        errors.append("needs n_heads_in_group or num_key_value_heads, or no_op or replace_with_linear set to true")
    elif not errors and group_size is not None:
        if num_attention_heads % group_size:
            errors.append(
                f"n_heads_in_group = {group_size} does not divide num_attention_heads = {num_attention_heads}"
            )
        elif num_key_value_heads not in (None, num_attention_heads // group_size):
            errors.append(
                f"n_heads_in_group = {group_size} makes {num_attention_heads // group_size} KV heads of "
                f"{num_attention_heads}, but num_key_value_heads = {num_key_value_heads}: give one, or the same"
            )
        num_key_value_heads = num_attention_heads // group_size
    layer = {
        "mixer_types": "attention",
        "num_key_value_heads": num_key_value_heads,
        "sliding_window": attention.get("window_length"),
    }
    return layer, errors


def read_ffn(ffn: dict[str, Any], hidden_size: int) -> Read:
    """One layer's `ffn` entry as (attributes of the layer, errors)."""
    if errors := impossible_choices(ffn):
        return {}, errors
    if ffn.get("no_op"):
        return {"mlp_types": "none"}, []
    sizes = ("ffn_mult", "intermediate_size")
    errors = inexpressible_fields(ffn, ("no_op", "replace_with_linear", *sizes, "hidden_act", "gated"))
    if ffn.get("replace_with_linear"):
        return {"mlp_types": "linear"}, errors

    errors += impossible_sizes(ffn, sizes)
    if ffn.get("gated") is False:
        errors.append("gated = False cannot be expressed by this family, whose MLP has a gate")
    ffn_mult, intermediate_size = ffn.get("ffn_mult"), ffn.get("intermediate_size")
    if ffn_mult is None and intermediate_size is None:
        errors.append("needs ffn_mult or intermediate_size, or no_op or replace_with_linear set to true")
    elif not errors and ffn_mult is not None:
        width = ffn_mult_to_intermediate_size(ffn_mult, hidden_size)
        if intermediate_size not in (None, width):
            errors.append(
                f"ffn_mult = {ffn_mult} makes a width of {width} of {hidden_size}, but intermediate_size = "
                f"{intermediate_size}: give one, or the same"
            )
        intermediate_size = width
    return {"mlp_types": "dense", "intermediate_size": intermediate_size, "hidden_act": ffn.get("hidden_act")}, errors


def read_block(block: dict[str, Any], config: Any) -> Read:
    """One entry of `block_configs` as (attributes of the layer, errors)."""
    if not isinstance(block, dict):
        return {}, [f" = {block!r}: an object with attention and ffn is needed"]
    missing = [name for name in ("attention", "ffn") if not isinstance(block.get(name), dict)]
    if missing:
        return {}, [f".{name} = {block.get(name)!r}: an object is needed" for name in missing]
    mixer, mixer_errors = read_attention(block["attention"], config.num_attention_heads)
    mlp, mlp_errors = read_ffn(block["ffn"], config.hidden_size)
    errors = [f": {error}" for error in inexpressible_fields(block, ("attention", "ffn"))]
    errors += [f".attention: {error}" for error in mixer_errors] + [f".ffn: {error}" for error in mlp_errors]
    return mixer | mlp, errors


def read_block_configs(block_configs: list[dict[str, Any]], config: HeterogeneousLlamaConfig) -> dict[str, Any]:
    """
    The layers that `block_configs` describes, as attributes of a family's config.

    Raises:
        HeterogeneousConfigError: names every block and field that the family cannot express.
    """
    if not isinstance(block_configs, list) or not isinstance(config.num_attention_heads, int):
        raise HeterogeneousConfigError(
            "block_configs is a list with one entry a layer, beside one num_attention_heads for all"
        )
    blocks = [read_block(block, config) for block in block_configs]
    errors = [f"block_configs[{layer_idx}]{error}" for layer_idx, (_, found) in enumerate(blocks) for error in found]
    if len(blocks) != config.num_hidden_layers:
        errors.append(f"block_configs has {len(blocks)} entries, num_hidden_layers is {config.num_hidden_layers}")
    layers = [layer for layer, _ in blocks]
    activations = {
        layer_idx: layer.get("hidden_act") or config.hidden_act
        for layer_idx, layer in enumerate(layers)
        if layer.get("mlp_types") == "dense"
    }
    found = list(activations.values())
    hidden_act = max(found, key=found.count, default=config.hidden_act)
    errors += [
        f"block_configs[{layer_idx}].ffn: hidden_act = {other!r}, of other layers {hidden_act!r}: one for all is needed"
        for layer_idx, other in activations.items()
        if other != hidden_act
    ]
    if errors:
        raise HeterogeneousConfigError("\n".join(errors))

    names = ["mixer_types", "mlp_types", "num_key_value_heads", "intermediate_size"]
    if any("window_length" in block["attention"] for block in block_configs):  # else the parent's own fields say it
        names.append("sliding_window")
    attributes: dict[str, Any] = {name: [layer.get(name) for layer in layers] for name in names}
    attributes["hidden_act"] = hidden_act
    if is_second_schema(block_configs) and config.head_dim is None:
        attributes["head_dim"] = 128  # the default of the remote code that wrote it, whatever hidden_size is
    return attributes


def is_second_schema(block_configs: list[dict[str, Any]]) -> bool:
    """Whether the blocks are in DeciLM's later schema, which gives widths and no longer `ffn_mult`."""
    grouped = any(block["attention"].get("n_heads_in_group") for block in block_configs)
    return grouped and any(
        block["ffn"].get("intermediate_size") and block["ffn"].get("ffn_mult") is None for block in block_configs
    )


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


def problems(config: HeterogeneousLlamaConfig) -> Iterator[str]:
    yield from other_types(config, "mixer_types", ("attention", "linear", "none"))
    yield from varying_sizes(config, allowed=("num_key_value_heads", "intermediate_size", "sliding_window"))
    for layer_idx, size in enumerate(config.layer_sizes("intermediate_size")):
        multiple = size is None or ffn_mult_to_intermediate_size(
            ffn_mult(size, config.hidden_size), config.hidden_size
        )
        if size is not None and multiple != size:
            yield f"intermediate_size[{layer_idx}] = {size}: a multiple of 256 is needed, ffn_mult says no others"


def block_config(config: ByLayer, layer_idx: int) -> dict[str, Any]:
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
        "ffn_mult": None if width is None else ffn_mult(width, config.hidden_size),
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


class NemotronNasConfig(HeterogeneousLlamaConfig):
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
    readers={"block_configs": read},
    before=("deci",),
    dropped={"*.rotary_emb.inv_freq": "buffer of rotary embeddings, computed from the config"},
    write_config=write_config,
)
