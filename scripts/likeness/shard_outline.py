"""What the shard of a file would be, class by class: inherited as it is, overriding these members, or written out."""

import ast
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from .class_features import classes_of, defined_in, known_classes, member_hashes, model_prefix
from .inheritance import Class
from .model_ranking import Match


NEAR = 0.4  # a class that is less like its nearest is written out
MOSTLY = 0.7  # of a class's lines: what overrides so many of them inherits nothing worth it


@dataclass
class Inherits:
    """A class that has a parent, the members that it overrides, and those that it takes away (is it a method?)."""

    parent: Class
    overrides: set[str] = field(default_factory=set)
    gone: dict[str, bool] = field(default_factory=dict)


def outline(path: Path, nearest: Mapping[str, Class], models: Path, kind: str = "modeling") -> dict[str, Inherits]:
    """
    The classes that inherit. Names of variables and of models are not compared.

    Args:
        path: The file.
        nearest: The class that each of its classes is nearest to, where one is near enough.
        models: Folder of the models of transformers.
        kind: What the parents' files are.
    """
    own, found = _outlined(path), {}
    for name, (model, parent) in nearest.items():
        mine, theirs = own[name], _outlined(models / model / f"{kind}_{model}.py")[parent]
        differing = {member for member, hashes in mine.members.items() if theirs.members.get(member) != hashes}
        gone = {member: member in theirs.methods for member in theirs.members if member not in mine.members}
        if name != parent and mine.bases == theirs.bases and mine.share(differing) <= MOSTLY:
            found[name] = Inherits((model, parent), differing, gone)
    return found


def near_enough(matches: Sequence[Match]) -> dict[str, Class]:
    """The class that each is nearest to, where it is near enough to inherit from."""
    return {each.name: each.nearest for each in matches if each.nearest and each.likeness >= NEAR}


def near_configs(path: Path, model: str, models: Path) -> dict[str, Class]:
    """The same of a configuration file and one model's."""
    theirs = models / model / f"configuration_{model}.py"
    known = known_classes(theirs) if theirs.is_file() else []
    found: dict[str, Class] = {}
    for each in known_classes(path):
        likeness = {
            other.name: 2 * len(each.features & other.features) / (len(each.features) + len(other.features))
            for other in known
        }
        if likeness and max(likeness.values()) >= NEAR:
            found[each.name] = (model, max(likeness, key=likeness.__getitem__))
    return found


def outline_text(names: Sequence[str], outlined: Mapping[str, Inherits]) -> str:
    """The outline as a shard's classes."""
    said = []
    for name in names:
        if name not in outlined:
            said.append(f"class {name}: ...  # written out")
            continue
        each = outlined[name]
        parts = [
            *(f"overrides {member}" for member in sorted(each.overrides)),
            *(f"without {gone}" for gone in each.gone),
        ]
        does = f"...  # {', '.join(parts)}" if parts else "pass"
        said.append(f"class {name}({each.parent[1]}): {does}")
    return "\n".join(said)


@dataclass(frozen=True)
class _Outlined:
    bases: Sequence[str]
    members: Mapping[str, Sequence[int]]
    methods: frozenset[str]
    lines: Mapping[str, int]

    def share(self, members: set[str]) -> float:
        """Which part of the class's lines these members are."""
        return sum(self.lines[each] for each in members) / max(1, sum(self.lines.values()))


@cache
def _outlined(path: Path) -> dict[str, _Outlined]:
    classes = classes_of(path)
    model = model_prefix([each.name for each in classes])
    return {each.name: _outlined_class(each, model) for each in classes}


def _outlined_class(node: ast.ClassDef, model: str) -> _Outlined:
    bases = [ast.unparse(each).rpartition(".")[2].removeprefix(model) for each in node.bases]
    members = member_hashes(node, model)
    lines = dict.fromkeys(members, 0)
    for member, statement in defined_in(node):
        lines[member] += (statement.end_lineno or 0) - statement.lineno + 1
    methods = frozenset(name for name, statement in defined_in(node) if isinstance(statement, ast.FunctionDef))
    return _Outlined(bases, members, methods, lines)
