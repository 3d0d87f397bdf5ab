"""`hetero inspect --groups`: the tensors of a model by sub-block, as a table or, with all that is known of them, as JSON."""

import json
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from transformers_heterogeneous.converters import CheckpointError, Description
from transformers_heterogeneous.converters.describing import described_and_kept
from transformers_heterogeneous.converters.engine.tensor_plan import runs


NUMBERED = re.compile(r"block_(\d+)_(\w+)")
EXPERT = re.compile(r"\.\d+\.")


def groups_command(path: Path, as_json: bool, revision: str | None = None) -> int:
    """Print the description of a checkpoint or config; 0 when done, 2 with the reason on stderr when it could not be."""
    try:
        found = described_and_kept(path, revision)
    except CheckpointError as error:
        print(error, file=sys.stderr)
        return 2
    if as_json:
        print(json.dumps(found.to_dict()))
    else:
        print_groups(path, found)
    return 0


def print_groups(path: Path, found: Description) -> None:
    """The table, and what the modules are called."""
    console = Console(highlight=False, emoji=False)
    console.print(f"{path} ({found.format})\n", markup=False, soft_wrap=True)
    table = Table("group", "layers N", "tensors", "", box=box.SIMPLE_HEAD, padding=0, show_edge=False)
    table.columns[2].justify = "right"
    for row in rows_of(found):
        table.add_row(*row)
    console.print(table, "")
    modules = {
        "input embedding": found.input_embedding,
        "layer N": f"{found.layer_modules}.N",
        "final norm": found.final_norm,
        "head": f"{found.output_embedding or '-'}{' (tied)' * found.is_tied}",
    }
    for title, module in modules.items():
        console.print(f"{title:<24}{module}", markup=False, soft_wrap=True)


def rows_of(found: Description) -> Iterator[tuple[str, str, str, str]]:
    """Group, its layers, number of tensors in each, and their names; layers that have the same names are in one row."""
    alike: dict[tuple[str, tuple[str, ...]], list[int]] = {}
    for group, tensors in found.groups.items():
        if match := NUMBERED.fullmatch(group):
            alike.setdefault((f"block_N_{match[2]}", in_layer(tensors)), []).append(int(match[1]))
        else:
            yield group, "", f"{len(tensors):,}", ", ".join(tensors)
    for (group, names), layers in sorted(alike.items(), key=lambda each: each[1][0]):
        shown = ", ".join(dict.fromkeys(map(any_expert, names)))
        numbers = (str(first) if stop == first + 1 else f"{first}-{stop - 1}" for first, stop in runs(layers))
        yield group, ", ".join(numbers), f"{len(names):,}", shown


def in_layer(tensors: Sequence[str]) -> tuple[str, ...]:
    """Names of the tensors of one layer, in the layer."""
    return tuple(re.split(r"\.\d+\.", tensor, maxsplit=1)[1] for tensor in tensors)


def any_expert(name: str) -> str:
    """A name with a star in the place of the expert's number."""
    return EXPERT.sub(".*.", name)
