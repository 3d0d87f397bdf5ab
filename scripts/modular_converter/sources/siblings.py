"""Parents that another shard of the same folder expands to: `from .modular_x import X`, or `from .modeling_x import X`.

The text inherited from is the formatted one, fresh from the same run or else from disk: both are the same bytes.
"""

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path

from .diagnostics import Diagnostic
from .paths import FILE_TYPES


_IMPORT = r"(?m)^from[\s\\]+\.[\s\\]*(?:{})_(\w+)[\s\\]+import"
_SHARD_IMPORT = re.compile(_IMPORT.format("modular"))
_SIBLING_IMPORT = re.compile(_IMPORT.format("|".join(["modular", *sorted(FILE_TYPES, key=len, reverse=True)])))
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


def with_needed(shard: Path) -> list[Path]:
    """A shard after the ones of its folder that it inherits from, those of these among them."""
    beside = set(shard.parent.glob("modular_*.py"))
    found: dict[Path, None] = {}

    def visit(path: Path) -> None:
        for each in _needs(path, beside):
            if each not in found and each != shard:
                visit(each)
        found[path] = None

    visit(shard)
    return list(found)


def in_order(shards: Sequence[Path]) -> tuple[list[Path], set[Path], list[Diagnostic]]:
    """Shards after the siblings that they inherit from, those that others need, and circles."""
    present = set(shards)
    known = {path: _needs(path, present) for path in shards}
    ordered: dict[Path, None] = {}
    circles: list[Diagnostic] = []
    for path in shards:
        _visit(path, (), known, ordered, circles)
    stuck = {problem.path for problem in circles}
    needed = {each for needs in known.values() for each in needs}
    return [path for path in ordered if path not in stuck], needed, circles


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError):  # told when it is the shard's turn
        return ""


def _needs(path: Path, shards: Set[Path]) -> list[Path]:
    """The siblings that a shard imports from, itself or through helpers, whose code is copied into its files."""
    named = _named(_SIBLING_IMPORT, path)
    through = [each for helper in named if not is_shard(helper) for each in _behind(helper, frozenset())]
    needed = [each for each in named if each != path and is_shard(each)] + through
    return [each for each in dict.fromkeys(needed) if each in shards]


def _behind(helper: Path, seen: frozenset[Path]) -> list[Path]:
    """The shards that a helper imports from, itself or through others."""
    found: list[Path] = []
    for each in _named(_SHARD_IMPORT, helper):
        if is_shard(each):
            found.append(each)
        elif each not in seen:
            found += _behind(each, seen | {helper})
    return found


def _named(pattern: re.Pattern[str], path: Path) -> list[Path]:
    found = dict.fromkeys(pattern.findall(_text(path)))
    return [path.with_name(f"modular_{model}.py") for model in found]


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
    """The files that a shard may inherit from: beside its outputs, else beside itself, else in `generated/` beside its folder."""
    return Siblings(tuple(dict.fromkeys((place(path), path.parent, path.parent.parent / "generated"))), fresh)
