"""`hetero infer`: what the shapes of a pruned checkpoint's tensors say, where its config does not."""

import json
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from transformers_heterogeneous.converters import CheckpointError, Inference, Report, infer
from transformers_heterogeneous.converters.engine.errors import refuse

from .convert import convert_command, print_report
from .inspection import print_summary


def infer_command(src: Path, dst: Path | None, given: Sequence[str], as_json: bool, options: Mapping[str, Any]) -> int:
    """Print what was found, and convert where a target is named; 0 when done, 2 with the reason on stderr."""
    found: list[Inference] = []

    def conversion(fields: Mapping[str, Any]) -> Report:
        found.append(infer(src, dst, fields, **options))
        return found[0].report  # type: ignore[return-value]  # there is one where there is a target

    try:
        fields = read_fields(given)
        if dst is None:
            found.append(infer(src, None, fields, **options))
    except CheckpointError as error:
        print(error, file=sys.stderr)
        return 2
    if dst is not None and (code := convert_command(partial(conversion, fields), dst, print_with=nothing)):
        return code
    if as_json:
        print(json.dumps(found[0].to_dict(), indent=2))
    else:
        print_inference(found[0])
    return 0


def nothing(report: Report) -> None:
    """What was found is printed with the report."""


def read_fields(given: Sequence[str]) -> dict[str, Any]:
    """Fields and values, as `head_dim=128` says them; a `CheckpointError` names what is none."""
    fields: dict[str, Any] = {}
    wrong = []
    for words in given:
        name, _, value = words.partition("=")
        try:
            fields[name.strip()] = json.loads(value)
        except ValueError:
            wrong.append(f"{words!r}: {value!r} is no value in JSON")
    refuse("--set", wrong, remedy="It is said as in head_dim=128 or 'sliding_window=[128, null]'.")
    return fields


def print_inference(inference: Inference) -> None:
    """The table of `hetero inspect`, where its numbers came from, and the report."""
    print_summary(inference.summary)
    console = Console(highlight=False, soft_wrap=True, markup=False, emoji=False)
    console.print("\nwhere it came from")
    for name, source in inference.sources.items():
        value = inference.config.get(name)
        console.print(f"  {name:<36} {source}" + ("" if isinstance(value, list | dict) else f": {value}"))
    if list(inference.layers) != list(range(len(inference.layers))):
        console.print(f"  layers are numbers {list(inference.layers)} in the files")
    for layer, widths in (inference.zeros or {}).items():
        for name, number in widths.items():
            console.print(f"  layer {layer}: {number:,} of {name} are zero in every tensor")
    if inference.zeros == {}:
        console.print("  no unit of a width is zero in every tensor")
    if inference.report is not None:
        console.print("")
        print_report(inference.report)
