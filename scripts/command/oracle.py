"""`hetero check --run`: does what a shard expands to do what the shard does when Python executes it?

Executing a shard outside transformers defines what it means: its classes inherit from their parents, and that is that. One
thing is added, which is what a family is: within the family's own copies of the parents' modules, `ZzMLP` is the shard's
`NewMLP`, where it has one; classes and functions alike, also as a base.
"""

import importlib
import importlib.util
import inspect
import itertools
import re
import sys
import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..modular_converter.shards.reading import read_shard
from ..modular_converter.shards.shard import Shard
from ..modular_converter.sources.paths import FILE_TYPES
from ..modular_converter.sources.siblings import siblings_of


_NUMBERS = itertools.count()
_PLAIN = (int, float, str, bytes, bool, type(None))


@dataclass
class Comparison:
    """What was compared, what differs, and what could not be run."""

    compared: list[str] = field(default_factory=list)
    differences: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Pair:
    """A shard as Python executes it, and its expansion; `canonical` makes names of the parents and of the family equal."""

    shard: Shard
    executed: types.ModuleType
    expanded: Mapping[str, types.ModuleType]
    canonical: Callable[[str], str]

    def classes(self) -> Iterator[tuple[str, type, type]]:
        """(name, executed, expanded) of each class that the shard defines and its expansion has."""
        for name in self.shard.classes:
            for module in self.expanded.values():
                if isinstance(found := vars(module).get(name), type) and found.__module__ == module.__name__:
                    yield name, getattr(self.executed, name), found


def load(path: Path, folder: Path) -> Pair:
    """Execute a shard, and its expansion, which lies in `folder`."""
    shard = read_shard(path, siblings_of(path, lambda each: each.parent, {}))
    executed = execute(shard)
    package = package_of(f"_hetero_expansion_{next(_NUMBERS)}", [folder, path.parent])
    names = [name for kind in FILE_TYPES if (folder / f"{(name := f'{kind}_{shard.model}')}.py").is_file()]
    expanded = {name: importlib.import_module(f"{package}.{name}") for name in names}
    return Pair(shard, executed, expanded, canonical_names(shard))


def execute(shard: Shard) -> types.ModuleType:
    """The shard as a Python module, whose parents are copies of its own in which the family's classes are used."""
    package = package_of(f"_hetero_shard_{next(_NUMBERS)}", [shard.path.parent])
    names = {index: _absolute(shard, index) for index in range(len(shard.parents))}
    first = sorted((name for name in names.values() if name), key=lambda name: ".configuration_" not in name)
    with _copies(first) as copies:
        module = importlib.import_module(f"{package}.{shard.path.stem}")
    for index, name in names.items():
        if name:
            _substitute(copies[name], module, shard.parents[index].renaming.name)
    return module


def _absolute(shard: Shard, index: int) -> str | None:
    """The name by which Python imports a parent; None for a sibling."""
    parent = shard.parents[index]
    return parent.module if not parent.module.startswith(".") else None


def package_of(name: str, folders: Iterable[Path]) -> str:
    package = types.ModuleType(name)
    package.__path__ = [str(folder) for folder in folders]
    sys.modules[name] = package
    return name


@contextmanager
def _copies(names: Iterable[str]) -> Iterator[dict[str, types.ModuleType]]:
    """Copies of modules, which imports find in their places."""
    known: dict[str, types.ModuleType | None] = {}
    copies: dict[str, types.ModuleType] = {}
    try:
        for name in names:
            spec = importlib.util.find_spec(name)
            assert spec and spec.loader
            known.setdefault(name, sys.modules.get(name))
            copies[name] = sys.modules[name] = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(copies[name])
        yield copies
    finally:
        for name, module in known.items():
            sys.modules.pop(name, None)
            if module is not None:
                sys.modules[name] = module


def _substitute(parent: types.ModuleType, shard: types.ModuleType, rename: Callable[[str], str]) -> None:
    """Let the parent's module use the family's classes and functions for its own."""
    replaced = {}
    for name, value in list(vars(parent).items()):
        mine = vars(shard).get(rename(name))
        module = str(getattr(mine, "__module__", None))
        if isinstance(mine, types.FunctionType) and module.startswith(f"{shard.__package__}."):
            setattr(parent, name, mine)  # also where both files only import it
        elif (
            isinstance(mine, type) and module == shard.__name__ and getattr(value, "__module__", "") == parent.__name__
        ):
            setattr(parent, name, mine)
            replaced[value] = mine
    for value in list(vars(parent).values()) + list(replaced):
        if isinstance(value, type) and value.__module__ == parent.__name__ and value not in replaced.values():
            _rebase(value, replaced)
    for value in vars(shard).values():
        if isinstance(value, type) and value.__module__ == shard.__name__:
            for base in value.__mro__[1:]:
                if base.__module__ == parent.__name__:
                    _rebase(base, replaced)


def _rebase(value: type, replaced: Mapping[Any, Any]) -> None:
    """Put the family's classes in the place of a class's bases, but for those that inherit from it themselves."""
    bases = tuple(
        replaced[base] if base in replaced and not issubclass(replaced[base], value) else base
        for base in value.__bases__
    )
    if bases != value.__bases__:
        value.__bases__ = bases


def canonical_names(shard: Shard) -> Callable[[str], str]:
    """Text in which every spelling of the parents' names and of the family's is the same."""
    spellings = set()
    for parent in shard.parents:
        for spelling in (parent.renaming.old, parent.renaming.new):
            if spelling:
                spellings |= {spelling.lower, spelling.cased, spelling.upper, spelling.lower.replace("_", "")}
    spellings.add(shard.cased)
    pattern = re.compile("|".join(map(re.escape, sorted(spellings, key=len, reverse=True))) or r"(?!)")
    return lambda text: pattern.sub("*", text)


def compare_classes(pair: Pair, comparison: Comparison) -> None:
    """Compare the public attributes of each class: names, kinds, signatures, values, and the classes above."""
    for name, executed, expanded in pair.classes():
        comparison.compared.append(name)
        comparison.differences += (f"{name}{text}" for text in _class_differences(executed, expanded, pair))


def _class_differences(executed: type, expanded: type, pair: Pair) -> Iterator[str]:
    mine, theirs = (
        {pair.canonical(name): value for name, value in public(each).items()} for each in (executed, expanded)
    )
    deleted = {name for name, value in mine.items() if is_deletion(value)}
    for name in sorted((mine.keys() ^ theirs.keys()) - deleted):
        yield f".{name}: {'only when executed' if name in mine else 'only in the expansion'}"
    for name in sorted((mine.keys() & theirs.keys()) - deleted):
        first, second = (_described(each[name], pair.canonical) for each in (mine, theirs))
        if first != second and "super_kwargs" not in str(first):
            yield f".{name}: executed {first}, expanded {second}"
    first, second = (_above(each, pair) for each in (executed, expanded))
    if first != second:
        yield f": inherits from {first} when executed, from {second} in the expansion"


def public(cls: type) -> dict[str, object]:
    """The attributes without an underscore, and the methods that Python calls itself, as they lie in their classes."""
    found: dict[str, object] = {}
    for each in reversed(cls.__mro__):
        special = (
            {"__init__", "__call__", "__eq__", "__len__", "__iter__", "__getitem__", "__post_init__"}
            if each is not object
            else set()
        )
        found |= {name: value for name, value in vars(each).items() if not name.startswith("_") or name in special}
    return found


def is_deletion(value: object) -> bool:
    """Whether an attribute of an executed shard is what takes the parent's away in the expansion."""
    if isinstance(value, types.FunctionType) and value.__code__.co_names[:1] == ("AttributeError",):
        return "raise AttributeError" in inspect.getsource(value)
    return isinstance(value, AttributeError)


def _described(value: object, canonical: Callable[[str], str]) -> object:
    """What can be compared of an attribute of a class: a signature, plain values, else the kind of thing it is."""
    if isinstance(value, staticmethod | classmethod):
        return type(value).__name__, _described(value.__func__, canonical)
    if isinstance(value, property):
        return "property", value.fset is not None, value.fdel is not None
    if isinstance(value, types.FunctionType):
        parameters = inspect.signature(value).parameters.values()
        defaults = [(each.name, each.kind.name, _described(each.default, canonical)) for each in parameters]
        return "async method" if inspect.iscoroutinefunction(value) else "method", defaults
    return plain(value, canonical)


def plain(value: object, canonical: Callable[[str], str]) -> object:
    """Plain values with canonical names, and the kind of everything else."""
    if isinstance(value, str):
        return canonical(value)
    if isinstance(value, Mapping):
        return {plain(key, canonical): plain(each, canonical) for key, each in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(each, canonical) for each in value]
    if isinstance(value, _PLAIN):
        return value
    return canonical(value.__name__) if isinstance(value, type) else canonical(type(value).__name__)


def _above(cls: type, pair: Pair) -> list[str]:
    """The classes above one, without the parents that are flattened into those that inherit from them."""
    flattened = {found[1] for name in pair.shard.classes if (found := pair.shard.parent_of(name))}
    names = [each.__name__ for each in cls.__mro__[1:] if each.__name__ not in flattened]
    return list(dict.fromkeys(map(pair.canonical, names)))
