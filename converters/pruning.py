"""Layers made smaller on the way: sub-blocks that are skipped, and layers that are taken out because they hold nothing."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
from typing import Any

from transformers_heterogeneous.configuration_heterogeneous import HeterogeneousPreTrainedConfig

from .checkpoint import Checkpoint
from .engine.errors import CheckpointError, refuse
from .families.family import Family
from .families.layers import left_out, places, renumbered
from .formats.recognition import PROVENANCE, UNREADABLE


def without_sub_blocks(source: Checkpoint, asked: Sequence[str]) -> Checkpoint:
    """
    A checkpoint without sub-blocks of some of its layers.

    Args:
        asked: What and where, as in `attention:19,20,22-23`.

    Raises:
        CheckpointError: names every word that is wrong and every layer that has nothing of the kind.
    """
    if not asked:
        return source
    skipped = read_skips(asked, source.config)
    family, config = source.published.family, deepcopy(source.config)
    try:
        config.fused_blocks = unfused(config, skipped)
        config.per_layer_config = {layer: {"skip": list(names)} for layer, names in skipped.items()}
    except UNREADABLE as error:
        raise CheckpointError("--skip leaves no model:", str(error.__cause__ or error).splitlines()) from error
    gone = places(family.tensor_shapes(source.config)) - places(family.tensor_shapes(config))
    reasons = {
        (layer, module): "left out by --skip " + ", ".join(f"{name}:{layer}" for name in skipped[layer])
        for layer, module in gone
    }
    return without_places(replace(source, config=config), reasons)


def unfused(config: HeterogeneousPreTrainedConfig, skipped: Mapping[int, Sequence[str]]) -> list[str] | None:
    """`fused_blocks` without those that need a sub-block which is skipped."""
    if config.fused_blocks is None:
        return None
    fused_blocks = list(config.fused_blocks)
    for layer, names in skipped.items():
        if (fused_block := fused_blocks[layer]) != "none":
            gone = {types for name in names for types in config.entries_without(name, layer)}
            mixers, mlps = config.fusable[fused_block]
            needed = {"mixer_types": "none" not in mixers, "mlp_types": "none" not in mlps}
            if any(needed[types] for types in gone):
                fused_blocks[layer] = "none"
    return fused_blocks


def without_places(source: Checkpoint, reasons: Mapping[tuple[int, str], str]) -> Checkpoint:
    """A checkpoint without the tensors that lie in some sub-modules of layers; (layer, sub-module) -> why."""
    tensors, dropped = left_out(source.tensors, reasons)
    unused = {name: tensor for name, tensor in source.unused.items() if name in tensors}
    return replace(source, tensors=tensors, dropped=(*source.dropped, *dropped), unused=unused)


def read_skips(asked: Iterable[str], config: HeterogeneousPreTrainedConfig) -> dict[int, list[str]]:
    """The sub-blocks to skip by their layers; a `CheckpointError` names all that is wrong."""
    skipped: dict[int, list[str]] = {}
    problems = []
    for words in asked:
        name, _, numbers = words.partition(":")
        layers, wrong = read_numbers(numbers, config.num_hidden_layers)
        if name not in config.skippable:
            wrong.append(f"there is no {name!r}, known are {', '.join(config.skippable)}")
        else:
            wrong += [
                f"layer {layer} has no {name}, {in_words(config, layer)}"
                for layer in layers
                if not has(config, name, layer)
            ]
        problems += [f"{words!r}: {problem}" for problem in wrong]
        for layer in layers:
            skipped.setdefault(layer, []).append(name)
    refuse("--skip", problems, remedy="It is said as in attention:19,20,22-23.")
    return {layer: list(dict.fromkeys(names)) for layer, names in sorted(skipped.items())}


def read_numbers(numbers: str, num_layers: int) -> tuple[list[int], list[str]]:
    """The layers that `19,20,22-23` names, and what is wrong."""
    layers: list[int] = []
    wrong = []
    for part in numbers.split(","):
        first, dash, last = (each.strip() for each in part.partition("-"))
        ends = [first, last] if dash else [first, first]
        if not all(end.isascii() and end.isdecimal() and len(end) < 9 for end in ends):
            wrong.append(f"{part!r} is no layer and no range of layers")
        elif not int(ends[0]) <= int(ends[1]) < num_layers:
            wrong.append(f"{part!r}: layers are 0-{num_layers - 1}, the first of a range comes first")
        else:
            layers += range(int(ends[0]), int(ends[1]) + 1)
    return layers, wrong


def has(config: HeterogeneousPreTrainedConfig, name: str, layer: int) -> bool:
    """Whether a layer has a sub-block of a name that `skip` knows."""
    return any(getattr(config, types)[layer] != "none" for types in config.entries_without(name, layer))


def in_words(config: Any, layer: int) -> str:
    """What a layer is made of."""
    return f"its mixer is {config.mixer_types[layer]!r}, its MLP {config.mlp_types[layer]!r}"


def layers_with_something(config: Any) -> list[int]:
    """The layers that have a sub-block."""
    kinds = enumerate(zip(config.mixer_types, config.mlp_types, strict=True))
    return [layer for layer, both in kinds if both != ("none", "none")]


def numbers_without_empty(config: HeterogeneousPreTrainedConfig) -> dict[int, int]:
    """Layer -> its number when the layers that hold nothing are taken out; empty where there are none of these."""
    kept = layers_with_something(config)
    return {} if len(kept) == config.num_hidden_layers else {old: new for new, old in enumerate(kept)}


def shortened(config: HeterogeneousPreTrainedConfig, kept: Collection[int], family: Family) -> Any:
    """The config of the model that has these layers alone."""
    members = {name: value for name, value in config.to_dict().items() if name not in PROVENANCE}
    lists: list[str] = config._layer_lists()
    members |= {name: [value for layer, value in enumerate(members[name]) if layer in kept] for name in lists}
    shorter = family.config_class.from_dict({**members, "num_hidden_layers": len(kept)})
    shorter.architectures = config.architectures
    return shorter


def without_empty_layers(source: Checkpoint) -> Checkpoint:
    """
    A checkpoint without the layers that hold nothing, the others renumbered.

    Raises:
        CheckpointError: where there are names in it that cannot follow.
    """
    numbers = numbers_without_empty(source.config)
    if not numbers:
        return source
    reason = "in a layer without sub-blocks, which --drop-empty-layers takes out"
    strays = [place for place in places(source.tensors) if place[0] not in numbers]
    source = without_places(source, dict.fromkeys(strays, reason))
    return with_numbers(source, numbers, shortened(source.config, numbers, source.published.family))


def with_numbers(source: Checkpoint, numbers: Mapping[int, int], config: HeterogeneousPreTrainedConfig) -> Checkpoint:
    """A checkpoint whose layers have other numbers, as `config` has them."""
    tensors = {renumbered(name, numbers): tensor for name, tensor in source.tensors.items()}
    return replace(
        source,
        config=config,
        tensors={name: replace(tensor, name=name) for name, tensor in tensors.items()},
        unused={renumbered(name, numbers): named for name, named in source.unused.items()},
        numbers=numbers,
    )


def empty_layers(config: HeterogeneousPreTrainedConfig) -> Iterator[int]:
    """The layers that hold nothing."""
    kept = set(layers_with_something(config))
    return (layer for layer in range(config.num_hidden_layers) if layer not in kept)
