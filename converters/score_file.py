"""
Files of scores: a number for each unit of a size of a layer, which `hetero score` writes, and `hetero prune --by` reads.

A safetensors file has tensors called `<layer>.<size>`, sizes by the names of the family's config; JSON is layer -> size ->
numbers. What leaving a sub-block out changes is `<layer>.skip.<sub-block>`, one number.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import safe_open

from .engine.errors import CheckpointError


Scores = Mapping[str, list[float]]


def read_scores(path: Path) -> Scores:
    """`<layer>.<size>` -> the numbers of a file; a `CheckpointError` where it holds none."""
    try:
        if path.suffix == ".safetensors":
            with safe_open(path, framework="pt") as file:
                return {name: file.get_tensor(name).double().flatten().tolist() for name in file.keys()}  # noqa: SIM118
        members = json.loads(path.read_text())
        return {
            f"{layer}.{name}": list(map(float, each))
            for layer, sizes in members.items()
            for name, each in sizes.items()
        }
    except Exception as error:  # whatever a file may hold
        raise CheckpointError(f"{path}: holds no scores ({type(error).__name__}: {error})") from error


def skip_name(config: Any, types: str, layer: int) -> str:
    """The narrowest word by which `skip` leaves out what a layer has in a list, as its score is called."""
    names: list[str] = [name for name in config.skippable if types in config.entries_without(name, layer)]
    return names[-1]
