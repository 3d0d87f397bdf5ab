"""
Puzzletron's library of sub-blocks, of one checkpoint: what each of its layers may be replaced by without other weights, itself
and the same without one half or both, and the models that have one layer replaced.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from .formats.anymodel_halves import BLOCKS, FOLDER, HALVES, NO_OPS, REPLACEMENTS, SOLUTIONS, SUBBLOCKS


# The part of a half that may be in the place of what it is called after, and what Puzzletron tells of it
PARTS = {
    "attention": ("mamba", ("num_heads", "head_dim")),
    "ffn": (
        "moe",
        ("num_local_experts", "expert_intermediate_dim", "shared_expert_intermediate_dim", "num_experts_per_tok"),
    ),
}
TOLD_SIZES = {"attention": ("kv_heads", "num_key_value_heads"), "ffn": ("intermediate", "intermediate_size")}
Row = dict[str, Any]


def library_texts(block_configs: list[Row], folder: Path) -> dict[str, str]:
    """
    The files of the library.

    Args:
        block_configs: Of the checkpoint, each with an attention and an FFN half.
        folder: Where it will lie: Puzzletron takes paths as they stand.
    """
    subblocks = list(subblock_rows(block_configs, str(folder)))
    wholes = [row for row in subblocks if row["block_config"] is not None]
    blocks = [*wholes, *other_blocks(block_configs, str(folder))]
    replacements = [replacement(row) for row in blocks]
    files = {
        BLOCKS: blocks,
        SUBBLOCKS: subblocks,
        REPLACEMENTS: replacements,
        SOLUTIONS: list(solutions(replacements, len(block_configs))),
    }
    return {name: json.dumps(members, indent=2) for name, members in files.items()}


def subblock_rows(block_configs: list[Row], folder: str) -> Iterator[Row]:
    """Each layer whole and its halves, and then the halves that it could do without."""
    for layer_idx, block in enumerate(block_configs):
        for halves in (HALVES, *((half,) for half in HALVES)):
            yield row_of(layer_idx, {half: block[half] for half in halves}, folder)
    for half in reversed(HALVES):
        for layer_idx, block in enumerate(block_configs):
            if not block[half].get("no_op"):
                yield row_of(layer_idx, {half: NO_OPS[half]}, folder)


def other_blocks(block_configs: list[Row], folder: str) -> Iterator[Row]:
    """The blocks that halves make together and no layer is: without its FFN, without its attention, without both."""
    for without_attention in (False, True):
        for layer_idx, block in enumerate(block_configs):
            if without_attention and block["attention"].get("no_op"):
                continue
            attention = NO_OPS["attention"] if without_attention else block["attention"]
            ffns = [] if block["ffn"].get("no_op") else [NO_OPS["ffn"]]
            for ffn in [block["ffn"], *ffns] if without_attention else ffns:
                yield row_of(layer_idx, {"attention": attention, "ffn": ffn}, folder)


def row_of(layer_idx: int, halves: Mapping[str, Row], folder: str) -> Row:
    """A block, or one half of one: what it is, and in which checkpoint its weights lie."""
    there = [half for half in halves if not halves[half].get("no_op")]
    told = {half: told_half(half, halves[half]) if half in halves else None for half in HALVES}
    whole = len(halves) == len(HALVES)
    return {
        **{f"{half}_checkpoint_dir": folder if half in there else None for half in HALVES},
        "block_config": {**halves, "parallel_blocks": None} if whole else None,
        **{f"{half}_config": halves.get(half) for half in HALVES},
        "block_idx": layer_idx,
        "block_repr": "".join(map(str, told.values())) if whole else None,
        **{f"{half}_repr": each for half, each in told.items()},
    }


def told_half(half: str, members: Mapping[str, Any]) -> str:
    """A half in Puzzletron's words."""
    part, names = PARTS[half]
    inner = members.get(part)
    word, name = TOLD_SIZES[half]
    if members.get("no_op"):
        said = "no_op"
    elif members.get("replace_with_linear"):
        said = "linear"
    elif inner is not None:
        said = "  ".join(f"{each.replace('local_', '')}_{inner.get(each)}" for each in names)
    else:
        said = f"{word}_{members.get(name)}"
    return f"  {half if inner is None else part}" + f"  {said}".ljust(8)


def replacement(block: Row) -> Row:
    """A block in the place of the layer that it is of."""
    layer_idx = block["block_idx"]
    paths = [
        f"{block[f'{half}_checkpoint_dir']}/{FOLDER}/block_{layer_idx}_{half}.safetensors"
        for half in HALVES
        if block[f"{half}_checkpoint_dir"] is not None
    ]
    return {"parent_layer_indices": [layer_idx], "child_block_configs": [block["block_config"]], "weight_paths": paths}


def solutions(replacements: list[Row], number: int) -> Iterator[Row]:
    """
    The models that have one layer replaced, by that layer.

    Args:
        replacements: The layers themselves first.
        number: Of the layers.
    """
    own, others = replacements[:number], replacements[number:]
    for other in sorted(others, key=lambda each: each["parent_layer_indices"]):
        (layer_idx,) = other["parent_layer_indices"]
        chosen = [*own[:layer_idx], other, *own[layer_idx + 1 :]]
        yield {
            "single_sequence_replacement": other,
            "chosen_replacements": chosen,
            "block_configs": [block for each in chosen for block in each["child_block_configs"]],
        }
