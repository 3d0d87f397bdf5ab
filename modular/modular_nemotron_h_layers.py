# Copyright 2026 The transformers-heterogeneous authors. All rights reserved.
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.
"""Nemotron-H layers as checkpoints of every generation describe them. No `__all__`: families copy what they import."""

from dataclasses import asdict, is_dataclass
from typing import Any

from transformers.configuration_utils import PreTrainedConfig

from .modular_block_configs import impossible_choices, impossible_sizes, inexpressible_fields
from .modular_heterogeneous import HeterogeneousConfigError


# What checkpoints call a layer -> its (mixer, MLP): names of Nemotron-H, then those of transformers, then of neither
BLOCK_TYPES = {
    "mamba": ("mamba", "none"),
    "attention": ("attention", "none"),
    "moe": ("none", "moe"),
    "mlp": ("none", "dense"),
    "linear_attention": ("mamba", "none"),
    "full_attention": ("attention", "none"),
    "none": ("none", "none"),
}
PUBLISHED_BLOCK_TYPES = {layer: name for name, layer in reversed(BLOCK_TYPES.items())}  # the first name of each
PATTERN_BLOCK_TYPES = {"M": "mamba", "*": "attention", "E": "moe", "-": "mlp"}
# What an entry of `block_configs` may say of its layer; what it leaves out is said for all, outside the blocks
BLOCK_MEMBERS = {
    "mamba": ("ssm_state_size",),
    "attention": ("num_key_value_heads",),
    "moe": (
        "n_routed_experts",
        "num_experts_per_tok",
        "moe_intermediate_size",
        "moe_latent_size",
        "moe_shared_expert_intermediate_size",
    ),
    "mlp": ("intermediate_size",),
}
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


def pattern_to_block_types(pattern: str) -> list[str]:
    """One block type a character; a `HeterogeneousConfigError` names every character that is none, with its position."""
    if not isinstance(pattern, str):
        raise HeterogeneousConfigError(f"a pattern is a string of {list(PATTERN_BLOCK_TYPES)}, not {pattern!r}")
    unknown = [
        f"{name!r} at position {position}" for position, name in enumerate(pattern) if name not in PATTERN_BLOCK_TYPES
    ]
    if unknown:
        raise HeterogeneousConfigError(
            f"the pattern {pattern!r} has {', '.join(unknown)}, allowed are {list(PATTERN_BLOCK_TYPES)}"
        )
    return [PATTERN_BLOCK_TYPES[name] for name in pattern]


def read_block_types(name: str, block_types: list[str]) -> list[tuple[str, str]]:
    """The (mixer, MLP) of each entry of the list called `name`; a `HeterogeneousConfigError` names every entry that is none."""
    if not isinstance(block_types, list | tuple):
        raise HeterogeneousConfigError(f"{name} is {block_types!r}, a list with one entry a layer is needed")
    errors = [
        f"{name}[{layer_idx}] is {block_type!r}, allowed are {list(BLOCK_TYPES)}"
        for layer_idx, block_type in enumerate(block_types)
        if block_type not in list(BLOCK_TYPES)
    ]
    if errors:
        raise HeterogeneousConfigError("\n".join(errors))
    return [BLOCK_TYPES[block_type] for block_type in block_types]


def described_layers(
    mixer_types: list[str] | None,
    mlp_types: list[str] | None,
    lists: dict[str, list[str] | None],
    patterns: dict[str, str | None],
) -> dict[str, list[tuple[str, str]]]:
    """The (mixer, MLP) of each layer after everything that is given, by its name."""
    descriptions = {}
    if mixer_types is not None or mlp_types is not None:
        nothing = ["none"] * len(mixer_types or mlp_types)
        mixer_types, mlp_types = mixer_types or nothing, mlp_types or nothing
        if len(mixer_types) != len(mlp_types):
            raise HeterogeneousConfigError(
                f"mixer_types has {len(mixer_types)} entries, mlp_types {len(mlp_types)}: one a layer"
            )
        descriptions["mixer_types/mlp_types"] = list(zip(mixer_types, mlp_types))
    lists = lists | {
        name: None if pattern is None else pattern_to_block_types(pattern) for name, pattern in patterns.items()
    }
    given = {name: block_types for name, block_types in lists.items() if block_types is not None}
    return descriptions | {name: read_block_types(name, block_types) for name, block_types in given.items()}


def agreed_layers(descriptions: dict[str, list[tuple[str, str]]]) -> list[tuple[str, str]]:
    """The (mixer, MLP) of each layer, when everything that describes the layers says the same; a `HeterogeneousConfigError` names
    the layers for which it does not. A layer that `block_configs` leaves out may be of any kind in the others."""
    (first, layers), *others = descriptions.items()
    left_out = BLOCK_TYPES["none"] if first == "block_configs" else None
    errors = [] if layers else [f"{first} has no layers"]
    for name, other_layers in others:
        if len(other_layers) != len(layers):
            errors.append(f"{name} has {len(other_layers)} layers, {first} {len(layers)}")
            continue
        pairs = enumerate(zip(layers, other_layers))
        wrong = [layer_idx for layer_idx, (layer, other) in pairs if layer not in (other, left_out)]
        if wrong:
            errors.append(f"{name} and {first} differ in layers {wrong}: give one of them, or the same")
    if errors:
        raise HeterogeneousConfigError("\n".join(errors))
    return layers


def read_puzzletron_block(block: dict[str, Any], block_type: str | None) -> tuple[dict[str, Any], list[str]]:
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
    if block_type == "none" or attention.get("no_op") and ffn.get("no_op"):
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


def read_block(block: dict[str, Any], config: PreTrainedConfig) -> tuple[dict[str, Any], list[str]]:
    """One entry of `block_configs` as (attributes of the layer, errors)."""
    block_type = block.get("block_type")
    if block_type == "none":
        return {}, []
    if block_type not in BLOCK_MEMBERS:
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
    block_configs: list[dict[str, Any]], layers: list[tuple[str, str]], config: PreTrainedConfig
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
    block_types, sizes, errors = [], [], []
    for layer_idx, block in enumerate(block_configs):
        block, found = asdict(block) if is_dataclass(block) else block, []
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
