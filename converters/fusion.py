"""Fused blocks on disk: the norm beside the weights of its MLP, and under its own name again."""

from collections.abc import Iterable, Sequence
from copy import deepcopy
from dataclasses import replace
from typing import Any

from .checkpoint import Checkpoint
from .engine.errors import CheckpointError, refuse
from .formats.recognition import UNREADABLE
from .thinning import read_numbers


EVERY_LAYER = "all"


def with_fused_blocks(source: Checkpoint, asked: Sequence[str]) -> Checkpoint:
    """
    A checkpoint whose config fuses some of its layers; its tensors keep the family's names.

    Args:
        asked: What and where, as in `norm_mlp:all` or `add_norm:0,3-5`.

    Raises:
        CheckpointError: names every word that is wrong and every layer that has no such blocks.
    """
    if not asked:
        return source
    config = deepcopy(source.config)
    fused_blocks = list(config.fused_blocks or ["none"] * config.num_hidden_layers)
    for layer, name in read_fusions(asked, config):
        fused_blocks[layer] = name
    try:
        config.fused_blocks = fused_blocks
        config.check()
    except UNREADABLE as error:
        raise CheckpointError("--fuse cannot be carried out:", str(error.__cause__ or error).splitlines()) from error
    return replace(source, config=config)


def read_fusions(asked: Iterable[str], config: Any) -> list[tuple[int, str]]:
    """The layers to fuse and how; a `CheckpointError` names all that is wrong."""
    fusions: list[tuple[int, str]] = []
    problems = []
    for words in asked:
        name, _, numbers = words.partition(":")
        layers, wrong = list(range(config.num_hidden_layers)), []
        if name not in config.fusable:
            wrong.append(f"there is no {name!r} in {config.model_type}, known are {list(config.fusable)}")
        elif numbers == EVERY_LAYER:
            layers = [layer for layer in layers if config.can_fuse(layer, name)]
        else:
            layers, wrong = read_numbers(numbers, config.num_hidden_layers)
            wrong += [f"layer {layer} has no such blocks" for layer in layers if not config.can_fuse(layer, name)]
        problems += [f"{words!r}: {problem}" for problem in wrong]
        fusions += [(layer, name) for layer in layers]
    refuse("--fuse", problems, remedy="It is said as in norm_mlp:all or add_norm:0,3-5.")
    return fusions
