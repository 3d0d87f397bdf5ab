"""`hetero prune`: neurons, heads, experts, states or layers cut out of a checkpoint."""

import json
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from transformers_heterogeneous.converters import CheckpointError, Report, prune
from transformers_heterogeneous.converters.engine.errors import refuse
from transformers_heterogeneous.converters.engine.json_objects import read_object
from transformers_heterogeneous.converters.pruning import read_numbers
from transformers_heterogeneous.converters.pruning_plan import WORDS, read_plan

from .convert import convert_command, print_json, print_report


MANY = 4096  # layers; how many there are is not known before the checkpoint is read


def prune_command(
    src: Path,
    dst: Path,
    plan: Path | None,
    sizes: Mapping[str, Sequence[str] | None],
    layers: str | None,
    choice: Mapping[str, Any],
    options: Mapping[str, Any],
    as_json: bool,
    plan_out: Path | None = None,
) -> int:
    """
    Prune and print the report; 0 when done, 2 with the reason on stderr when it could not be.

    Args:
        sizes: Option -> what was said, as in `3,5-8:8192`.
        choice: Other members of the plan.
        options: Of the conversion.
        plan_out: File for the plan that targets are met by.
    """

    def told(report: Report) -> None:
        (print_json if as_json else print_report)(report)
        if plan_out is not None and report.cut is not None:
            plan_out.write_text(json.dumps(report.cut.record.get("plan", {}), indent=2) + "\n")

    try:
        members = {} if plan is None else read_object(plan)
        members = dict(members.get("per_layer_config", members))
        for layer, name, number in read_sizes(sizes):
            members[layer] = {**members.get(layer, {}), WORDS[name]: number}
        whole = read_plan(members, layers=None if layers is None else read_layers(layers), **choice)
    except CheckpointError as error:
        print(error, file=sys.stderr)
        return 2
    return convert_command(partial(prune, src, dst, whole, **options), dst, told)


def read_sizes(sizes: Mapping[str, Sequence[str] | None]) -> list[tuple[str, str, int]]:
    """(layer, option, number) as options say them; a `CheckpointError` names all that is wrong."""
    found, problems = [], []
    for name, said in sizes.items():
        for words in said or ():
            layers, colon, number = words.rpartition(":")
            numbers, wrong = read_numbers(layers, MANY) if colon else ([], ["layers and a number are needed"])
            if not (number.isascii() and number.isdecimal() and 0 < len(number) < 10):
                wrong.append(f"{number!r} is no number")
            problems += [f"--{name.replace('_', '-')} {words!r}: {problem}" for problem in wrong]
            found += [(str(layer), name, int(number)) for layer in numbers if not wrong]
    refuse("What is to be cut", problems, remedy="It is said as in --width 3,5-8:8192.")
    return found


def read_layers(words: str) -> list[int]:
    """Layers, as in `0-20,25-31`."""
    layers, wrong = read_numbers(words, MANY)
    refuse("--layers", wrong, remedy="It is said as in 0-20,25-31.")
    return layers
