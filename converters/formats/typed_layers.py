"""
Configs whose layers Puzzletron's second generation describes: in typed blocks, and, where a checkpoint is realised, once more
in `per_layer_config`, in the fields of the base model. Both have to say the same.
"""

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from copy import deepcopy
from typing import Any

from transformers_heterogeneous.configuration_heterogeneous import HeterogeneousConfigError

from ..families.family import ByLayer
from .expression import without
from .typed_blocks import KIND_OF, KINDS, SCHEMA, SIZES, SKIPPED, Layer, field_of, of_base, read_block, size_of


ANY_MODEL = "AnyModel"  # the architecture of whatever is realised
# What the form adds to the base's config
ADDED = ("block_configs", "per_layer_config", "block_config_schema", "base_architecture", "anymodel_arch_info")
# What else describes the layers
DESCRIPTIONS = ("layer_types", "layers_block_type", "hybrid_override_pattern")
REMOTE_CODE = ("auto_map", "blockwise_members")


def are_typed(block_configs: Any) -> bool:
    """Whether blocks are lists of sub-blocks."""
    blocks = block_configs if isinstance(block_configs, list) else []
    return any(isinstance(block, dict) and "subblock_configs" in block for block in blocks)


def or_typed(read: Callable[[Any, Mapping[str, Any]], dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    """What reads the blocks of the first generation reads those of the second too."""

    @functools.wraps(read)
    def read_either(config_class: Any, config_dict: Mapping[str, Any]) -> dict[str, Any]:
        found = read_typed if are_typed(config_dict["block_configs"]) else read
        return found(config_class, config_dict)

    return read_either


def read_typed(config_class: Any, config_dict: Mapping[str, Any]) -> dict[str, Any]:
    """
    A config as the family has it, its layers no longer in blocks.

    Raises:
        HeterogeneousConfigError: names every layer and member that the family cannot express, that contradicts what the
            config says around the blocks, or on which `block_configs` and `per_layer_config` disagree.
    """
    refuse(schema_problems(config_dict))
    rest = without(config_dict, *ADDED, *REMOTE_CODE)
    if rest.get("architectures") == [ANY_MODEL]:
        base_architecture = config_dict.get("base_architecture")
        rest["architectures"] = [base_architecture] if isinstance(base_architecture, str) else None
    base = ByLayer(config_class.from_dict(deepcopy(rest)))
    blocks, number = config_dict["block_configs"], base.num_hidden_layers
    if len(blocks) != number:
        raise HeterogeneousConfigError(f"block_configs has {len(blocks)} entries, num_hidden_layers is {number}")
    read = [read_block(base, block) for block in blocks]
    refuse(f"block_configs[{layer_idx}]{error}" for layer_idx, (_, found) in enumerate(read) for error in found)
    layers = [layer for layer, _ in read]
    refuse([*kind_problems(base, layers), *shared_problems(base, layers)])
    if (overrides := config_dict.get("per_layer_config")) is not None:
        refuse(disagreements(base, layers, overrides, config_dict))
    return {**without(rest, *DESCRIPTIONS), **attributes_of(base, layers)}


def refuse(errors: Iterable[str]) -> None:
    """Raise a `HeterogeneousConfigError` where there are errors."""
    if found := list(errors):
        raise HeterogeneousConfigError("\n".join(found))


def schema_problems(config_dict: Mapping[str, Any]) -> Iterator[str]:
    """Marks of another schema than the one that is read."""
    info = config_dict.get("anymodel_arch_info")
    if not isinstance(info, dict | None):
        yield f"anymodel_arch_info = {info!r}: an object is needed"
    marks = {"block_config_schema": config_dict, "anymodel_arch_info.block_config_schema": info}
    for place, holder in marks.items():
        mark = holder.get("block_config_schema") if isinstance(holder, dict) else None
        if mark not in (None, SCHEMA):
            yield f"{place} = {mark!r}: {SCHEMA!r} is read, and no other"


def kind_problems(base: ByLayer, layers: list[Layer]) -> Iterator[str]:
    """Sub-blocks of another kind than the config around the blocks has there."""
    for layer_idx, layer in enumerate(layers):
        for types, kind in layer.types.items():
            other = getattr(base, types)[layer_idx]
            if kind not in ("none", other):
                yield (
                    f"block_configs[{layer_idx}]: has {KIND_OF[types, kind]}, and the config says "
                    f"{KIND_OF.get((types, other), other)} of the layer"
                )


def shared_problems(base: ByLayer, layers: list[Layer]) -> Iterator[str]:
    """Sizes that differ between layers, where the family has one for all that have the sub-block."""
    for name, values in shared_sizes(base, layers).items():
        found = list(values.values())
        common = max(found, key=found.count)
        for layer_idx, value in values.items():
            if value != common:
                yield (
                    f"block_configs[{layer_idx}]: {name} = {value!r}, of other layers {common!r}: this family has one "
                    "for all"
                )
        if name == "num_attention_heads" and common != base.num_attention_heads and not has_head_dim(base):
            yield f"num_query_heads = {common}: the heads of this family are as wide as hidden_size and their number say"


def has_head_dim(base: ByLayer) -> bool:
    return field_of(type(base.config), "attention", "qk_head_dim") is not None


def shared_sizes(base: ByLayer, layers: list[Layer]) -> dict[str, dict[int, Any]]:
    """Of the fields that are one for all layers and said in blocks: layer that has the sub-block -> value."""
    found: dict[str, dict[int, Any]] = {}
    for name in sorted({name for layer in layers for name in layer.sizes} - base.per_layer_sizes.keys()):
        places = {KINDS[kind] for kind, members in SIZES.items() for names in members.values() if name in names}
        found[name] = {
            layer_idx: layer.sizes.get(name, of_base(base, name))
            for layer_idx, layer in enumerate(layers)
            if places & layer.types.items()
        }
    return found


def attributes_of(base: ByLayer, layers: list[Layer]) -> dict[str, Any]:
    """The layers, as fields of the family's config."""
    found: dict[str, Any] = {types: [layer.types[types] for layer in layers] for types in SKIPPED}
    found |= {name: next(iter(values.values())) for name, values in shared_sizes(base, layers).items()}
    for name, (types, having) in base.per_layer_sizes.items():
        sizes = [
            size_of(base, layer, layer_idx, name) if layer.types[types] in having else None
            for layer_idx, layer in enumerate(layers)
        ]
        distinct = {size for size in sizes if size is not None}
        one = len(distinct) == 1 and name not in base.optional_per_layer_sizes
        found[name] = distinct.pop() if one else sizes
    if found.get("num_attention_heads", base.num_attention_heads) != base.num_attention_heads:
        found.setdefault("head_dim", of_base(base, "head_dim"))
    return found


def disagreements(base: ByLayer, layers: list[Layer], overrides: Any, config_dict: Mapping[str, Any]) -> Iterator[str]:
    """Layers and fields of which `per_layer_config` says something else than the blocks."""
    if not isinstance(overrides, dict) or not all(isinstance(each, dict) for each in overrides.values()):
        yield "per_layer_config: an object of layer -> object is needed"
        return
    known = {int(key): each for key, each in overrides.items() if str(key).isdecimal() and int(key) < len(layers)}
    wrong = sorted(str(key) for key in overrides if not str(key).isdecimal() or int(key) >= len(layers))
    if wrong or len(known) < len(overrides):
        yield f"per_layer_config: keys are layers, 0 to {len(layers) - 1}, each once, and here are {list(overrides)}"
        return
    for layer_idx, layer in enumerate(layers):
        said = known.get(layer_idx, {})
        for name, ours, theirs in unequal(base, layer, layer_idx, said, config_dict):
            yield f"layer {layer_idx}: {name} is {ours!r} in block_configs and {theirs!r} in per_layer_config"


def unequal(
    base: ByLayer, layer: Layer, layer_idx: int, said: Mapping[str, Any], config_dict: Mapping[str, Any]
) -> Iterator[tuple[str, Any, Any]]:
    """The fields of one layer on which they disagree, each with both values."""
    skip = said.get("skip") or []
    if not isinstance(skip, list) or sorted(map(str, skip)) != sorted(layer.skipped):
        yield "skip", layer.skipped, skip
    if layer.types["mixer_types"] == "attention" and "sliding_window" in base.per_layer_sizes:
        ours = size_of(base, layer, layer_idx, "sliding_window")
        theirs = said_window(base, layer_idx, said, config_dict)
        if ours != theirs:
            yield "sliding_window", ours, theirs
    said = {base.attribute_map.get(name, name): value for name, value in said.items()}
    for name in sorted(layer.sizes.keys() | said.keys() - {"skip", "sliding_window", "layer_types"}):
        default = of_base(base, name, layer_idx) if hasattr(base, name) else config_dict.get(name)
        ours, theirs = layer.sizes.get(name, default), said.get(name, default)
        if ours != theirs:
            yield name, ours, theirs


def said_window(base: ByLayer, layer_idx: int, said: Mapping[str, Any], config_dict: Mapping[str, Any]) -> Any:
    """The window that `per_layer_config` gives a layer; where there are types of layers, they say whether it has one."""
    if not {"sliding_window", "layer_types"} & said.keys():
        return base.layer_sizes("sliding_window")[layer_idx]
    kinds = said.get("layer_types", config_dict.get("layer_types"))
    if isinstance(kinds, list) and layer_idx < len(kinds) and kinds[layer_idx] != "sliding_attention":
        return None
    return said.get("sliding_window", config_dict.get("sliding_window"))
