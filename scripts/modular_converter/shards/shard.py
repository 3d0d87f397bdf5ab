"""A shard as the generator sees it: its own statements, its parents, and what it takes from helper shards."""

import io
import re
import tokenize
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import libcst as cst

from ..naming.model_names import ModelNames
from ..naming.renaming import Renaming
from ..sources.diagnostics import Diagnostic, ShardError
from ..sources.file_types import file_type
from ..sources.paths import Home
from ..sources.pieces import Line
from ..sources.siblings import Siblings
from ..sources.source import SourceFile, Statement
from ..syntax.tree import small


# Upstream's way to rename a parameter: callers may go on saying the old name for a while
DEPRECATED = re.compile(r"""@deprecate_kwarg\(\s*["'](\w+)["'][^)@]*?\bnew_name=["'](\w+)["']""")


@dataclass(frozen=True)
class Parent:
    """A parent file: what the shard imports from it, and how its names are renamed."""

    source: SourceFile
    module: str
    type: str
    model: str
    imported: tuple[str, ...]
    renaming: Renaming

    @property
    def is_sibling(self) -> bool:
        """Whether another shard of the same folder expands to this file."""
        return self.module.startswith(".") and not self.module.startswith("..")

    @cached_property
    def names(self) -> frozenset[str]:
        """The names in the code of the file, as the shard has them."""
        tokens = tokenize.generate_tokens(io.StringIO(self.source.text).readline)
        return frozenset(self.renaming.name(each.string) for each in tokens if each.type == tokenize.NAME)

    @cached_property
    def given_up(self) -> dict[str, str]:
        """Names of parameters that the file's decorators take for others, and that its code has no more."""
        found = DEPRECATED.findall(self.source.text)
        return {old: new for old, new in found if old not in self.names}

    @cached_property
    def classes(self) -> frozenset[str]:
        """The imported names that are classes defined there, so that a class of the shard may inherit from them."""
        found = self.source.definitions
        return frozenset(name for name in self.imported if name in found and found[name].kind == "class")


@dataclass(frozen=True)
class Entry:
    """Something that can be emitted: a top-level statement of the shard, of a helper shard or of a renamed parent."""

    name: str
    statement: Statement
    renaming: Renaming
    file: int
    rank: int
    helper: bool = False

    @property
    def kind(self) -> str:
        return self.statement.kind

    @cached_property
    def nodes(self) -> tuple[Line, ...]:
        """The renamed statement, with what completes it."""
        return tuple(map(self.renaming.node, self.statement.nodes))

    @cached_property
    def identifiers(self) -> frozenset[str]:
        """The renamed names that the code mentions."""
        return frozenset(map(self.renaming.name, self.statement.identifiers))


@dataclass(frozen=True, eq=False)
class Shard:
    """Everything that is known of a shard before its outputs are laid out."""

    source: SourceFile
    home: Home
    names: ModelNames
    model: str
    cased: str
    parents: tuple[Parent, ...]
    helpers: tuple[SourceFile, ...]
    entries: Mapping[str, Entry]
    bases: Mapping[str, tuple[str, ...]]
    types: Mapping[str, str]
    problems: list[Diagnostic] = field(default_factory=list)
    used: set[tuple[int, str]] = field(default_factory=set)
    siblings: Siblings = field(default_factory=Siblings)
    siblings_at: Mapping[cst.ImportFrom, list[cst.ImportFrom]] = field(default_factory=dict)

    @property
    def path(self) -> Path:
        return self.source.path

    @cached_property
    def exported(self) -> list[str] | None:
        """The names in `__all__`; None for a helper shard, which has none."""
        return exports(self.source)

    @cached_property
    def classes(self) -> list[str]:
        """The shard's own classes, in order."""
        return [name for name, entry in self.entries.items() if entry.kind == "class" and not entry.helper]

    def type_of(self, name: str) -> str:
        """The type of the file that a class, a function or a constant goes to."""
        return self.types.get(name) or file_type(name, self.cased)

    def parent_of(self, class_name: str) -> tuple[int, str] | None:
        """(index of the parent file, class name there) when a class inherits from another model."""
        return next(iter(self.parents_of(class_name)), None)

    def parents_of(self, class_name: str) -> list[tuple[int, str]]:
        """The classes of other models that a class inherits from; siblings beside one from abroad are mixins."""
        found = [
            (index, base)
            for base in self.bases.get(class_name, ())
            for index, parent in enumerate(self.parents)
            if base in parent.classes
        ]
        return [each for each in found if not self.parents[each[0]].is_sibling] or found


def exports(source: SourceFile) -> list[str] | None:
    """The names in a shard's `__all__`; None for a helper shard, which has none."""
    for statement in source.of_kind("__all__"):
        value = getattr(small(statement.node), "value", None)
        listed = [element.value for element in value.elements] if isinstance(value, cst.List | cst.Tuple) else None
        if listed is None or not all(isinstance(each, cst.SimpleString) for each in listed):
            message = "`__all__` must be a list of string literals, each of which goes to the file of its kind"
            raise ShardError([Diagnostic(source.path, source.line(statement.node), 1, message)])
        return [str(each.evaluated_value) for each in listed if isinstance(each, cst.SimpleString)]
    return None


def model_of(path: Path) -> str:
    """`modular_llama.py` -> `llama`."""
    return path.stem.partition("modular_")[2]


def class_types(entries: Mapping[str, Entry], cased: str, alone: Set[str]) -> dict[str, str]:
    """The file type of each class. What a config needs lives in the configuration file: helper classes, and those that
    stand `alone`, without a parent's code, and whose names tell no type."""
    classes = {name: entry for name, entry in entries.items() if entry.kind == "class"}
    types = {name: file_type(name, cased) for name in classes}
    movable = {name for name, entry in classes.items() if entry.helper}
    movable |= {name for name in alone if types.get(name) == "modeling"}
    configs = [entry for name, entry in classes.items() if types[name] == "configuration"]
    for name in closure({name for entry in configs for name in entry.identifiers}, entries) & movable:
        types[name] = "configuration"
    return types


def closure(start: Iterable[str], graph: Mapping[str, Entry]) -> set[str]:
    """Everything that `start` reaches."""
    found: set[str] = set()
    queue = [name for name in start if name in graph]
    while queue:
        name = queue.pop()
        if name not in found:
            found.add(name)
            queue += graph[name].identifiers & graph.keys()
    return found
