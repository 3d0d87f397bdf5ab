"""Where a name or a line of an output comes from: its place in the shard, or the import of the parent that has it."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path


Rename = Callable[[str], str]
Parents = Iterable[tuple[Path, Rename]]  # each file with how its names are renamed


@dataclass(frozen=True)
class Origin:
    """A place in the shard; `told` names the line of the parent where the shard only imports what has it."""

    line: int = 1
    column: int = 1
    told: str = ""


def origin_of(name: str, shard: str, parents: Parents) -> Origin:
    """Where the shard first mentions a name, or else where it imports the parent that does, under its own name."""
    return _first(re.compile(rf"\b{re.escape(name)}\b"), shard) or _in_parents(
        lambda line, rename: any(rename(word) == name for word in re.findall(r"[^\W\d]\w*", line)),
        shard,
        parents,
    )


def origin_of_line(text: str, shard: str, parents: Parents) -> Origin:
    """Where a line of an output was written."""
    return _first(re.compile(rf"^\s*{re.escape(text.strip())}"), shard) or _in_parents(
        lambda line, _: line.strip() == text.strip(), shard, parents
    )


def _in_parents(is_it: Callable[[str, Rename], bool], shard: str, parents: Parents) -> Origin:
    for path, rename in parents:
        lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
        number = next((number for number, line in enumerate(lines, 1) if is_it(line, rename)), 0)
        place = _first(re.compile(rf"\b{re.escape(path.stem)}\b"), shard)
        if number:
            return Origin(place.line if place else 1, 1, f" ({path.name}:{number})")
    return _first(re.compile(r"^class \w+"), shard) or Origin()


def _first(pattern: re.Pattern[str], text: str) -> Origin | None:
    for number, line in enumerate(text.splitlines(), 1):
        if match := pattern.search(line):
            return Origin(number, match.start() + len(match[0]) - len(match[0].lstrip()) + 1)
    return None
