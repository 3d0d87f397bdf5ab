"""Parents that another shard of the same folder expands to: `from .modular_x import X`, or `from .modeling_x import X`.

The text inherited from is the formatted one, fresh from the same run or else from disk: both are the same bytes.
"""

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from .diagnostics import Diagnostic
from .places import FILE_TYPES


_SIBLING_IMPORT = re.compile(
    rf"(?m)^from[\s\\]+\.[\s\\]*(?:modular|{'|'.join(sorted(FILE_TYPES, key=len, reverse=True))})_(\w+)[\s\\]+import"
)
_EXPORTS = re.compile(r"(?m)^__all__\b")


@dataclass(frozen=True)
class Siblings:
    """Where the files of sibling shards are: those made in this run, by path, and the folders to look into."""

    folders: tuple[Path, ...] = ()
    fresh: Mapping[Path, str] = field(default_factory=dict)

    def find(self, module: str) -> tuple[Path, str] | None:
        """Path and text of the generated file `<module>.py`, None when there is none."""
        for path in (folder / f"{module}.py" for folder in self.folders):
            if path in self.fresh or path.is_file():
                return path, self.fresh[path] if path in self.fresh else path.read_text(encoding="utf-8")
        return None

    def digest(self, module: str) -> str:
        """Digest of a generated file, empty when there is none."""
        found = self.find(module)
        return hashlib.sha256(found[1].encode()).hexdigest() if found else ""


def is_shard(path: Path) -> bool:
    """Whether a file is a shard with outputs of its own, not one that others copy from."""
    return path.is_file() and _EXPORTS.search(path.read_text(encoding="utf-8", errors="replace")) is not None


def in_order(shards: Sequence[Path]) -> tuple[list[Path], set[Path], list[Diagnostic]]:
    """Shards after the siblings that they inherit from, those that others need, and circles."""
    known = {path: [] if (text := _text(path)) is None else _needs(path, text, shards) for path in shards}
    ordered: dict[Path, None] = {}
    circles: list[Diagnostic] = []
    for path in shards:
        _visit(path, (), known, ordered, circles)
    stuck = {problem.path for problem in circles}
    needed = {each for needs in known.values() for each in needs}
    return [path for path in ordered if path not in stuck], needed, circles


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError):  # told when it is the shard's turn
        return None


def _needs(path: Path, text: str, shards: Sequence[Path]) -> list[Path]:
    named = [path.with_name(f"modular_{model}.py") for model in dict.fromkeys(_SIBLING_IMPORT.findall(text))]
    present = set(shards)
    return [each for each in named if each != path and each in present and is_shard(each)]


def _visit(
    path: Path,
    trail: tuple[Path, ...],
    known: Mapping[Path, Sequence[Path]],
    ordered: dict[Path, None],
    circles: list[Diagnostic],
) -> None:
    if path in trail:
        circle = [*trail[trail.index(path) :], path]
        names = " -> ".join(each.name for each in circle)
        message = f"shards inherit from one another in a circle: {names}; move what they share into a third one"
        circles.extend(Diagnostic(each, 1, 1, message) for each in circle[:-1])
    elif path not in ordered:
        for each in known[path]:
            _visit(each, (*trail, path), known, ordered, circles)
        ordered[path] = None


Place = Callable[[Path], Path]


def siblings_of(path: Path, place: Place, fresh: Mapping[Path, str]) -> Siblings:
    """The files that a shard may inherit from: beside its outputs, else beside itself."""
    return Siblings(tuple(dict.fromkeys((place(path), path.parent))), fresh)
