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
PATTERN_BLOCK_TYPES = {"M": "mamba", "*": "attention", "E": "moe", "-": "mlp"}


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


def agreed_layers(
    descriptions: dict[str, list[tuple[str, str]]], left_out: tuple[str, str] | None = None
) -> list[tuple[str, str]]:
    """The (mixer, MLP) of each layer, when everything that describes the layers says the same; a
    `HeterogeneousConfigError` names the layers for which it does not. What is `left_out` in the first may be of any kind
    in the others."""
    (first, layers), *others = descriptions.items()
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
