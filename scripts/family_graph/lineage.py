"""Families and what they are made of, read off their shards and off those of transformers, without importing any."""

import ast
import re
import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from ..modular_converter.sources.paths import FILE_TYPES, package_folder


SHARD = re.compile(r"modular_(?P<name>\w+)\.py")
# The last part of a module that a class is inherited from, as in `modeling_qwen3` and `modular_qwen3`
MODULE = re.compile(rf"(?:{'|'.join(sorted((*FILE_TYPES, 'modular'), key=len, reverse=True))})_(?P<name>\w+)")
LOCK = "overrides.lock"


@dataclass(frozen=True)
class Family:
    """
    A model's code.

    Attributes:
        name: As its files are called.
        of: Where it lies: `transformers`, or the folder.
        shard_lines: Of its modular file; `None` where it was written out whole.
        lines: Of the files that are imported; 0 where there are none, as of a shard that others take classes from.
        num_classes: Of the shard.
        parents: Model -> how many classes are inherited from it, the one with most first.
        overrides: Model -> how many of its pieces the shard replaces, as the lock beside it has them; `None` without a lock.
    """

    name: str
    of: str
    shard_lines: int | None
    lines: int
    num_classes: int
    parents: Mapping[str, int] = field(default_factory=dict)
    overrides: Mapping[str, int] | None = None

    @property
    def parent(self) -> str | None:
        """What most classes are inherited from."""
        return next(iter(self.parents), None)


@dataclass(frozen=True)
class Lineage:
    """
    Families and all that they are made of.

    Attributes:
        families: By name; first those that were asked for.
        asked: Names of those.
    """

    families: Mapping[str, Family]
    asked: tuple[str, ...]

    @cached_property
    def children(self) -> dict[str | None, list[str]]:
        """Model -> the families of which it is the first parent; `None`: those without parents."""
        found: dict[str | None, list[str]] = {}
        for name in sorted(self.families):
            found.setdefault(self.parent_of(name), []).append(name)
        return found

    def parent_of(self, name: str) -> str | None:
        """The first parent that is known; a circle, which classes of two families may make, is broken at its first name."""
        parent, passed = self.families[name].parent, [name]
        while parent is not None and parent in self.families and parent not in passed:
            passed.append(parent)
            parent = self.families[parent].parent
        first = self.families[name].parent
        in_circle = (
            parent in passed and name in passed[passed.index(parent) :] and name == min(passed[passed.index(parent) :])
        )
        return None if in_circle or first not in self.families else first

    def depth_first(self) -> Iterator[tuple[int, Family]]:
        """All families, each behind what it is made of, and how many are above it."""
        waiting = [(0, name) for name in reversed(self.children.get(None, []))]
        while waiting:
            depth, name = waiting.pop()
            yield depth, self.families[name]
            waiting += [(depth + 1, child) for child in reversed(self.children.get(name, []))]

    def to_dict(self) -> dict[str, Any]:
        """The same as plain data."""
        return {"asked": list(self.asked), "families": [asdict(each) for each in self.families.values()]}


def lineage_of(folder: Path | None) -> Lineage:
    """
    The families of a folder of shards, with what they are made of.

    Args:
        folder: `None` for transformers' own models.

    Raises:
        LookupError: where there are no shards.
    """
    models = package_folder("transformers") / "models"
    place = models if folder is None else folder
    shards = sorted(path for path in place.rglob("modular_*.py") if "releases" not in path.relative_to(place).parts)
    own = {match["name"]: path for path in shards if (match := SHARD.fullmatch(path.name))}
    if not own:
        raise LookupError(f"{place}: there are no shards, which are called modular_<name>.py")
    of = "transformers" if folder is None else str(folder)
    locks = [locked(path) for path in sorted({path.parent / LOCK for path in own.values()}) if path.is_file()]
    counts = {name: each for lock in locks for name, each in lock.items()}
    read = {
        name: family_of(name, path, of, counts.get(path.name, {} if locks else None)) for name, path in own.items()
    }
    families = {name: each for name, each in read.items() if each.num_classes}
    asked, waiting = tuple(families), list(families)
    while waiting:
        name = waiting.pop()
        found = {
            parent: count
            for parent, count in families[name].parents.items()
            if parent in families or (models / parent).is_dir()
        }
        families[name] = replace(families[name], parents=found)
        for parent in found.keys() - families.keys():
            families[parent] = transformers_family(models / parent)
            waiting.append(parent)
    return Lineage(families, asked)


def transformers_family(folder: Path) -> Family:
    """A model of transformers, with its shard or without one."""
    shard = folder / f"modular_{folder.name}.py"
    if shard.is_file():
        return family_of(folder.name, shard, "transformers", None)
    return Family(folder.name, "transformers", None, expansion_lines(folder.name, folder), 0)


def family_of(name: str, shard: Path, of: str, overrides: Mapping[str, int] | None) -> Family:
    """A family by its shard."""
    tree = ast.parse(shard.read_text(encoding="utf-8"))
    origins = dict(imported(tree))
    classes = [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    bases = [base for node in classes for base in node.bases if isinstance(base, ast.Name)]
    parents = Counter(origins[base.id] for base in bases if origins.get(base.id, name) != name)
    folders = (shard.parent, shard.parent.parent, shard.parent.parent / "generated")
    lines = next(filter(None, (expansion_lines(name, folder) for folder in folders)), 0)
    return Family(name, of, num_lines(shard), lines, len(classes), dict(parents.most_common()), overrides)


def imported(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """Names that a shard imports from files of models, and these models."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            match = MODULE.fullmatch(node.module.rpartition(".")[2])
            for alias in node.names if match else ():
                yield alias.asname or alias.name, match["name"]  # type: ignore[index] # none without a match


def expansion_lines(name: str, folder: Path) -> int:
    """Lines of the files of a model that are imported."""
    paths = (folder / f"{kind}_{name}.py" for kind in FILE_TYPES)
    return sum(num_lines(path) for path in paths if path.is_file())


def num_lines(path: Path) -> int:
    return len(path.read_bytes().splitlines())


def locked(path: Path) -> dict[str, dict[str, int]]:
    """Shard's file name -> model -> how many of its pieces are replaced."""
    lock = tomllib.loads(path.read_text(encoding="utf-8"))
    lock.pop("formatter", None)
    found = {file: [model_in(each["parent"]) for each in overrides.values()] for file, overrides in lock.items()}
    return {file: dict(Counter(models).most_common()) for file, models in found.items()}


def model_in(parent: str) -> str:
    """The model in which a piece lies, as in `transformers.models.qwen3.modeling_qwen3:Qwen3MLP.forward`."""
    module = parent.partition(":")[0].rpartition(".")[2]
    match = MODULE.fullmatch(module)
    return match["name"] if match else module
