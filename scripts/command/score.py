"""`hetero score`: what layers, neurons, heads and experts do to data."""

import json
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

from rich.console import Console

from transformers_heterogeneous.converters import Scoring, ScoringOptions, score

from .convert import convert_command


def score_command(src: Path, data: Path, out: Path, options: ScoringOptions, as_json: bool) -> int:
    """Score and print a table; 0 when done, 2 with the reason on stderr when it could not be."""
    return convert_command(partial(score, src, data, out, options), out, print_json if as_json else print_scoring)


def print_json(scoring: Scoring) -> None:
    print(json.dumps(scoring.to_dict(), indent=2))


def print_scoring(scoring: Scoring) -> None:
    """A line for each layer: its influence, that of its sub-blocks, and the range of the scores of its units."""
    console = Console(highlight=False, soft_wrap=True, markup=False, emoji=False)
    console.print(
        f"{scoring.path}: {scoring.num_sequences:,} sequences, {scoring.num_tokens:,} tokens, {scoring.dtype} on "
        f"{scoring.device}" + (f"; {scoring.resumed} layers were finished before" if scoring.resumed else "")
    )
    console.print("layer influence")
    for layer, members in scoring.scores.items():
        influence = members["block_influence"][0]
        console.print(f"{layer:<5} {influence:<9.4f} {'  '.join(columns(members))}".rstrip())


def columns(members: Mapping[str, list[float]]) -> Iterator[str]:
    """The scores of a layer in words."""
    yield from (f"{name.removeprefix('skip.')} {each[0]:.4f}" for name, each in members.items() if "skip." in name)
    for name, each in members.items():
        if "." not in name and name != "block_influence":
            yield f"{name} {min(each):.3g}-{max(each):.3g}"
