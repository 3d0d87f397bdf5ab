"""
NVIDIA's `nemotron_h_puzzle`: Nemotron-Labs-3-Puzzle-75B-A9B.

Layers are described by `block_configs`, one sub-block each; what reads them reads Puzzletron's too, which have two halves.
Tensor names begin with `model.` in the BF16 checkpoint and with `backbone.` in the quantised ones, whose layers for
predicting several tokens lie in a file of their own.
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, is_dataclass
from typing import Any

from transformers_heterogeneous.configuration_heterogeneous import HeterogeneousConfigError
from transformers_heterogeneous.configuration_heterogeneous_nemotron_h import HeterogeneousNemotronHConfig

from ..families.family import ByLayer
from ..families.heterogeneous_nemotron_h import FAMILY
from .block_fields import Read, impossible_choices, impossible_sizes, inexpressible_fields, require_blocks, stated
from .expression import refuse_inexpressible, shared_fields, varying_sizes, without
from .nemotron_h import (
    BLOCK_TYPES,
    DESCRIPTIONS,
    REMOTE_CODE_KEYS,
    agreed_layers,
    described_layers,
    empty_layers,
    read_block_types,
    sub_block,
    with_own_names,
)
from .published_format import PublishedFormat
from .typed_layers import or_typed


# What a layer is made of -> NVIDIA's word for it, and the sizes that its block says; what it leaves out is said for all, outside
# the blocks
BLOCKS = {
    "mamba": ("mamba", ("ssm_state_size",)),
    "attention": ("attention", ()),
    "moe": (
        "moe",
        (
            "moe_intermediate_size",
            "num_experts_per_tok",
            "n_routed_experts",
            "moe_latent_size",
            "moe_shared_expert_intermediate_size",
        ),
    ),
    "dense": ("mlp", ("intermediate_size",)),
}
# NVIDIA's word -> the sizes that are read: Puzzletron's blocks have one of attention too
BLOCK_MEMBERS = {**dict(BLOCKS.values()), "attention": ("num_key_value_heads",)}
PUBLISHED_BLOCK_TYPES = {layer: name for name, layer in reversed(BLOCK_TYPES.items())}  # the first name of each
# Puzzletron's half of a layer and its part there -> Puzzletron's names in it, and those of Nemotron-H
PUZZLETRON_MEMBERS = {
    "mamba": {
        "state_dim": "ssm_state_size",
        "num_heads": "mamba_num_heads",
        "head_dim": "mamba_head_dim",
        "num_groups": "n_groups",
    },
    "moe": {
        "num_local_experts": "n_routed_experts",
        "expert_intermediate_dim": "moe_intermediate_size",
        "shared_expert_intermediate_dim": "moe_shared_expert_intermediate_size",
    },
}


@or_typed
def read(config_class: Any, config_dict: Mapping[str, Any]) -> dict[str, Any]:
    """
    A config as the family has it, its layers no longer in blocks; what else describes them has to agree.

    What neither a block nor the config says is missing: the defaults are not those of the checkpoint.
    """
    config_dict = {**dict.fromkeys(config_class.per_layer_sizes), **with_own_names(config_dict)}
    descriptions = described_layers(
        config_dict.get("mixer_types"),
        config_dict.get("mlp_types"),
        {name: config_dict.get(name) for name in ("layers_block_type", "layer_types")},
        {"hybrid_override_pattern": config_dict.get("hybrid_override_pattern")},
    )
    others = agreed_layers(descriptions) if descriptions else []
    block_types, sizes = read_block_configs(config_dict["block_configs"], others, stated(config_class, config_dict))
    blocks = {"block_configs": read_block_types("block_configs", block_types)}
    layers = agreed_layers({**blocks, **descriptions}, left_out=BLOCK_TYPES["none"])
    number = config_dict.get("num_hidden_layers")
    if number not in (None, len(layers)):
        raise HeterogeneousConfigError(f"num_hidden_layers is {number}, but there are {len(layers)} in block_configs")
    types = {"mixer_types": [mixer for mixer, _ in layers], "mlp_types": [mlp for _, mlp in layers]}
    rest = without(config_dict, "block_configs", "layer_types", *DESCRIPTIONS, *REMOTE_CODE_KEYS)
    return {**rest, **types, "num_hidden_layers": len(layers), **sizes}


def read_puzzletron_block(block: dict[str, Any], block_type: str | None) -> Read:
    """One entry of Puzzletron's `block_configs`, which has an attention and an FFN half for whatever layer, as
    (the entry that `nemotron_h_puzzle` would have, errors). Without a `block_type` the halves say what the layer is."""
    missing = [name for name in ("attention", "ffn") if not isinstance(block.get(name), dict)]
    if missing:
        return {}, [f".{name} = {block.get(name)!r}: an object is needed" for name in missing]
    attention, ffn = block["attention"], block["ffn"]
    errors = [f".{half}: {error}" for half in ("attention", "ffn") for error in impossible_choices(block[half])]
    errors += [
        f".{half}.{part} = {block[half][part]!r}: an object or null is needed"
        for half, part in (("attention", "mamba"), ("ffn", "moe"))
        if not isinstance(block[half].get(part), dict | None)
    ]
    if errors:
        return {}, errors
    if block_type == "none" or (attention.get("no_op") and ffn.get("no_op")):
        return {"block_type": "none"}, []
    if block_type is None and not (attention.get("no_op") or ffn.get("no_op")):
        return {}, [": has attention and ffn, and nothing says which is there: hybrid_override_pattern is needed"]
    if block_type is None:
        block_type = ("mamba" if attention.get("mamba") else "attention") if ffn.get("no_op") else "mlp"
        block_type = "moe" if block_type == "mlp" and ffn.get("moe") else block_type
    half, other = ("attention", "ffn") if block_type in ("mamba", "attention") else ("ffn", "attention")
    if block[half].get("no_op"):
        return {}, [
            f".{half}.no_op is true in a layer that is {block_type}: to leave it out, {other}.no_op is true too"
        ]
    members = {name: value for name, value in block[half].items() if name != "no_op"}
    if block_type in PUZZLETRON_MEMBERS:
        names, inner = PUZZLETRON_MEMBERS[block_type], members.pop(block_type, None) or {}
        unused = ("num_key_value_heads", "intermediate_size")  # of attention and of a dense MLP
        members = {name: value for name, value in members.items() if name not in unused}
        members |= {names.get(name, name): value for name, value in inner.items()}
    errors = [f": {error}" for error in inexpressible_fields(block, ("attention", "ffn"))]
    return {"block_type": block_type, **members}, errors


def read_block(block: dict[str, Any], config: HeterogeneousNemotronHConfig) -> Read:
    """One entry of `block_configs` as (attributes of the layer, errors)."""
    block_type = block.get("block_type")
    if block_type == "none":
        return {}, []
    if not isinstance(block_type, str) or block_type not in BLOCK_MEMBERS:
        return {}, [f": block_type = {block_type!r}, allowed are {list(BLOCK_MEMBERS)}"]
    names = BLOCK_MEMBERS[block_type]
    same = [name for name, value in block.items() if getattr(config, name, None) == value]  # says it again
    errors = inexpressible_fields(block, ("block_type", *names, *same)) + impossible_sizes(block, names)
    sizes = {name: block.get(name) for name in names}
    for name in names:
        if sizes[name] is None and not (name == "moe_latent_size" and name in block):
            sizes[name] = getattr(config, name)
        if sizes[name] is None and name != "moe_latent_size":
            errors.append(f"{name} is missing, and there is none outside block_configs")
        elif isinstance(sizes[name], list):
            errors.append(f"{name} is missing, and outside block_configs it is a list")
    return sizes, [f": {error}" for error in errors]


def read_block_configs(
    block_configs: list[dict[str, Any]], layers: list[tuple[str, str]], config: HeterogeneousNemotronHConfig
) -> tuple[list[str], dict[str, list[int | None]]]:
    """
    The layers that `block_configs` describes, as (block types, sizes of the layers by name).

    Read are the blocks of `nemotron_h_puzzle` (`block_type` and sizes) and those that Puzzletron adds to a Nemotron-H
    (`attention` and `ffn`), where `layers`, the (mixer, MLP) of each, says which of the two a layer has.

    Raises:
        HeterogeneousConfigError: names every block and member that the family cannot express.
    """
    if not isinstance(block_configs, list):
        raise HeterogeneousConfigError("block_configs is a list with one entry a layer")
    known = [PUBLISHED_BLOCK_TYPES.get(layer) for layer in layers] + [None] * len(block_configs)
    block_types: list[Any] = []
    sizes: list[dict[str, Any]] = []
    errors: list[str] = []
    for layer_idx, block in enumerate(block_configs):
        block = asdict(block) if is_dataclass(block) else block
        found: list[str] = []
        if not isinstance(block, dict):
            block, found = {}, [f" = {block!r}: an object is needed"]
        elif "block_type" not in block and ("attention" in block or "ffn" in block):
            block, found = read_puzzletron_block(block, known[layer_idx])
        layer_sizes, more = ({}, []) if found else read_block(block, config)
        errors += [f"block_configs[{layer_idx}]{error}" for error in found + more]
        block_types.append(block.get("block_type"))
        sizes.append(layer_sizes)
    if errors:
        raise HeterogeneousConfigError("\n".join(errors))
    names = {name for layer_sizes in sizes for name in layer_sizes}
    return block_types, {name: [layer_sizes.get(name) for layer_sizes in sizes] for name in sorted(names)}


BLOCKWISE = tuple(name for _, names in BLOCKS.values() for name in names)


def block_config(config: ByLayer, layer_idx: int) -> dict[str, Any]:
    """One layer."""
    block_type, names = BLOCKS[sub_block(config, layer_idx)]
    return {"block_type": block_type} | {name: config.layer_sizes(name)[layer_idx] for name in names}


def problems(config: HeterogeneousNemotronHConfig) -> Iterator[str]:
    yield from empty_layers(config)
    yield from varying_sizes(config, allowed=BLOCKWISE)


def write_config(config: Any) -> dict[str, Any]:
    """NVIDIA's config.json, of a model whose layers differ in anything but KV heads."""
    refuse_inexpressible("nemotron_h_puzzle", problems(config))
    varying = [name for name in BLOCKWISE if isinstance(getattr(config, name), list)]
    fields = without(shared_fields(config, "nemotron_h_puzzle", "NemotronHPuzzleForCausalLM"), *varying)
    layers = ByLayer(config)
    blocks = [block_config(layers, layer_idx) for layer_idx in range(config.num_hidden_layers)]
    return {**fields, "block_configs": blocks, "num_hidden_layers": None}


class NemotronHPuzzleConfig(HeterogeneousNemotronHConfig):
    """Reads the config of a published `nemotron_h_puzzle` checkpoint; what it returns is a [`HeterogeneousNemotronHConfig`]."""

    model_type = "nemotron_h_puzzle"

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs: Any) -> Any:
        require_blocks("nemotron_h_puzzle", config_dict)
        return HeterogeneousNemotronHConfig.from_dict(config_dict, **kwargs)


FORMAT = PublishedFormat(
    name="nemotron_h_puzzle",
    looks_like='model_type "nemotron_h_puzzle"',
    recognises=lambda config: config.get("model_type") == "nemotron_h_puzzle",
    family=FAMILY,
    config_class=NemotronHPuzzleConfig,
    readers={"block_configs": read},
    names={"backbone.": "model."},
    written_names={},
    write_config=write_config,
)
