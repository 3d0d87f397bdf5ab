"""
NVIDIA's `gpt_oss_puzzle`: gpt-oss-puzzle-88B.

`block_configs` gives each layer its number of experts and its window; what reads them reads Puzzletron's too. Tensor names
are those of gpt-oss, with scales of a quantised KV cache beside them.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from transformers_heterogeneous.configuration_heterogeneous import HeterogeneousConfigError
from transformers_heterogeneous.configuration_heterogeneous_gpt_oss import HeterogeneousGptOssConfig

from ..families.heterogeneous_gpt_oss import FAMILY
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


# Members of an entry of `block_configs` in gpt-oss-puzzle: sizes under the config's own names
PUZZLE_SIZES = (
    "num_local_experts",
    "num_experts_per_tok",
    "intermediate_size",
    "num_key_value_heads",
    "sliding_window",
)
# `ffn.moe` of Puzzletron's entries -> the size that it is
PUZZLETRON_SIZES = {
    "num_local_experts": "num_local_experts",
    "num_experts_per_tok": "num_experts_per_tok",
    "expert_intermediate_dim": "intermediate_size",
}
# What Puzzletron says beside `ffn.moe`, if anything
EXPERT_ACTIVATION = {"gated": (None, True), "hidden_act": (None, "silu")}
# ModelOpt writes its default of 8192 also for models without a shared expert, as gpt-oss is one
NO_SHARED_EXPERT = (None, 0, 8192)


@or_typed
def read(config_class: Any, config_dict: Mapping[str, Any]) -> dict[str, Any]:
    """A config as the family has it, its layers no longer in blocks."""
    attributes = read_block_configs(config_dict["block_configs"], stated(config_class, config_dict))
    return {**drop_remote_code_keys(config_class, without(config_dict, "block_configs")), **attributes}


def read_puzzle_block(block: dict[str, Any]) -> Read:
    """One entry in gpt-oss-puzzle's dialect as (attributes of the layer, errors)."""
    errors = [*inexpressible_fields(block, PUZZLE_SIZES), *impossible_sizes(block, PUZZLE_SIZES)]
    return {name: block[name] for name in PUZZLE_SIZES if name in block}, [f": {error}" for error in errors]


def read_puzzletron_attention(attention: dict[str, Any]) -> Read:
    """One layer's `attention` in Puzzletron's dialect as (attributes of the layer, errors)."""
    if errors := impossible_choices(attention):
        return {}, errors
    if attention.get("no_op"):
        return {"mixer_types": "none"}, []
    sizes = ("num_key_value_heads", "window_length")
    errors = [*inexpressible_fields(attention, ("no_op", *sizes)), *impossible_sizes(attention, sizes)]
    layer = {"mixer_types": "attention", "num_key_value_heads": attention.get("num_key_value_heads")}
    if attention.get("window_length") is not None:  # else `layer_types` says where the one window holds
        layer["sliding_window"] = attention["window_length"]
    return layer, errors


def read_puzzletron_ffn(ffn: dict[str, Any]) -> Read:
    """One layer's `ffn` in Puzzletron's dialect as (attributes of the layer, errors)."""
    if errors := impossible_choices(ffn):
        return {}, errors
    if ffn.get("no_op"):
        return {"mlp_types": "none"}, []
    errors = inexpressible_fields(ffn, ("no_op", "moe", *EXPERT_ACTIVATION))
    errors += [
        f"{name} = {ffn[name]!r} cannot be expressed, only {list(allowed)}"
        for name, allowed in EXPERT_ACTIVATION.items()
        if ffn.get(name) not in allowed
    ]
    moe = ffn.get("moe")
    if not isinstance(moe, dict):
        return {}, [*errors, f"moe = {moe!r}: an object is needed, or no_op set to true"]
    errors += [
        f"moe: {error}" for error in inexpressible_fields(moe, (*PUZZLETRON_SIZES, "shared_expert_intermediate_dim"))
    ]
    errors += [f"moe: {error}" for error in impossible_sizes(moe, tuple(PUZZLETRON_SIZES))]
    shared = moe.get("shared_expert_intermediate_dim")
    if shared not in NO_SHARED_EXPERT:
        errors.append(f"moe: shared_expert_intermediate_dim = {shared!r}, but this family has no shared expert")
    sizes = {ours: moe[theirs] for theirs, ours in PUZZLETRON_SIZES.items() if moe.get(theirs) is not None}
    return {"mlp_types": "moe", **sizes}, errors


def read_puzzletron_block(block: dict[str, Any]) -> Read:
    """One entry in Puzzletron's dialect as (attributes of the layer, errors)."""
    missing = [name for name in ("attention", "ffn") if not isinstance(block.get(name), dict)]
    if missing:
        return {}, [f".{name} = {block.get(name)!r}: an object is needed" for name in missing]
    mixer, mixer_errors = read_puzzletron_attention(block["attention"])
    mlp, mlp_errors = read_puzzletron_ffn(block["ffn"])
    errors = [f": {error}" for error in inexpressible_fields(block, ("attention", "ffn"))]
    errors += [f".attention: {error}" for error in mixer_errors] + [f".ffn: {error}" for error in mlp_errors]
    return mixer | mlp, errors


def read_block_configs(block_configs: list[dict[str, Any]], config: HeterogeneousGptOssConfig) -> dict[str, list[Any]]:
    """
    The layers that `block_configs` describes, as attributes of a config. Read are the dialects of gpt-oss-puzzle
    (`num_local_experts` beside `sliding_window`) and of Puzzletron (`attention` beside `ffn`).

    Raises:
        HeterogeneousConfigError: names every block and field that the family cannot express.
    """
    if not isinstance(block_configs, list):
        raise HeterogeneousConfigError(f"block_configs is a list with one entry a layer, not {block_configs!r}")
    blocks = []
    for block in block_configs:
        if not isinstance(block, dict):
            blocks.append(({}, [f" = {block!r}: an object is needed"]))
        elif "attention" in block or "ffn" in block:
            blocks.append(read_puzzletron_block(block))
        else:
            blocks.append(read_puzzle_block(block))
    errors = [f"block_configs[{layer_idx}]{error}" for layer_idx, (_, found) in enumerate(blocks) for error in found]
    if len(blocks) != config.num_hidden_layers:
        errors.append(f"block_configs has {len(blocks)} entries, num_hidden_layers is {config.num_hidden_layers}")

    experts = {name: getattr(config, name) for name in PUZZLETRON_SIZES.values()}  # where `moe` leaves one out
    layers = [experts | layer if layer.get("mlp_types") == "moe" else layer for layer, _ in blocks]
    attributes = {
        name: [layer.get(name) for layer in layers]
        for name in ("mixer_types", "mlp_types", *PUZZLE_SIZES)
        if any(name in layer for layer in layers)
    }
    errors += [
        f"block_configs[{layer_idx}]: {name} is missing, other blocks have it"
        for layer_idx, layer in enumerate(layers)
        for name in attributes
        if name not in layer and "mixer_types" not in attributes and not blocks[layer_idx][1]
    ]
    if errors:
        raise HeterogeneousConfigError("\n".join(errors))
    return attributes


PER_BLOCK = ("num_local_experts", "sliding_window")


def problems(config: HeterogeneousGptOssConfig) -> Iterator[str]:
    yield from other_types(config, "mixer_types", ("attention",))
    yield from other_types(config, "mlp_types", ("moe",))
    yield from varying_sizes(config, allowed=PER_BLOCK)


def write_config(config: Any) -> dict[str, Any]:
    """NVIDIA's config.json, of a model whose layers differ in experts and windows alone."""
    refuse_inexpressible("gpt_oss_puzzle", problems(config))
    fields = without(shared_fields(config, "gpt_oss_puzzle", "GptOssPuzzleForCausalLM"), *PER_BLOCK)
    sizes = {name: config.layer_sizes(name) for name in PER_BLOCK}
    blocks = [{name: sizes[name][layer_idx] for name in PER_BLOCK} for layer_idx in range(config.num_hidden_layers)]
    return {**fields, "block_configs": blocks, "layer_types": list(config.layer_types)}


class GptOssPuzzleConfig(HeterogeneousGptOssConfig):
    """Reads the config of a published `gpt_oss_puzzle` checkpoint; what it returns is a [`HeterogeneousGptOssConfig`]."""

    model_type = "gpt_oss_puzzle"

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs: Any) -> Any:
        require_blocks("gpt_oss_puzzle", config_dict)
        return HeterogeneousGptOssConfig.from_dict(config_dict, **kwargs)


FORMAT = PublishedFormat(
    name="gpt_oss_puzzle",
    looks_like='model_type "gpt_oss_puzzle"',
    recognises=lambda config: config.get("model_type") == "gpt_oss_puzzle",
    family=FAMILY,
    config_class=GptOssPuzzleConfig,
    readers={"block_configs": read},
    before=("gpt_oss",),
    write_config=write_config,
)
