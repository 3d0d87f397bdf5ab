"""JSON objects from files that somebody else wrote."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

from .errors import CheckpointError
from .files import read_file


SPECIAL_FLOAT = "__float__"  # transformers' key of "Infinity" and others that JSON has no numbers for
MAX_JSON_BYTES = 100_000_000  # an index of half a million tensors


def without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any] | float:
    """A JSON object as a dict, or the number for which transformers writes one; a `ValueError` where a key stands in it
    twice."""
    members = dict(pairs)
    if members.keys() == {SPECIAL_FLOAT}:
        return float(members[SPECIAL_FLOAT])
    if len(members) < len(pairs):
        counts = Counter(name for name, _ in pairs)
        raise ValueError(f"twice in one object: {sorted(repr(name) for name, count in counts.items() if count > 1)}")
    return members


def parse_json(content: bytes, source: str) -> Any:
    """
    What a JSON text in UTF-8 says.

    Raises:
        CheckpointError: names `source`, where it is not JSON, or an object has a key twice.
    """
    try:
        return json.loads(content.decode("utf-8"), object_pairs_hook=without_duplicates)
    except (ValueError, RecursionError, TypeError) as error:
        raise CheckpointError(f"{source}: not JSON that can be read: {error}") from error


def parse_object(content: bytes, source: str) -> dict[str, Any]:
    """
    A JSON object from its bytes in UTF-8.

    Raises:
        CheckpointError: names `source`, where it is not JSON, not an object, or has a key twice.
    """
    parsed = parse_json(content, source)
    if not isinstance(parsed, dict):
        raise CheckpointError(f"{source}: a JSON object is needed, found {type(parsed).__name__}")
    return parsed


def read_object(path: Path, folder: Path | None = None) -> dict[str, Any]:
    """
    The JSON object in a file.

    Args:
        folder: The checkpoint that it has to belong to.

    Raises:
        CheckpointError: names the file where it cannot be read, is no regular one, or no config's size.
    """
    return parse_object(read_file(path, MAX_JSON_BYTES, folder), str(path))
