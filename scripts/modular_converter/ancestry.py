"""What the bases of a class offer, as far as their files say: followed through imports, nothing is executed."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache

import libcst as cst

from .diagnostics import ShardError
from .imported import aliases
from .places import home_of, installed_folder
from .resolve import module_file
from .source import SourceFile, imports_in, read_source


@dataclass(frozen=True)
class Offer:
    """Names that bases define; `complete` when no base is out of sight."""

    names: frozenset[str] = frozenset()
    complete: bool = False


def offer_of(bases: Iterable[str], source: SourceFile, seen: frozenset[str] = frozenset()) -> Offer:
    """What the classes called `bases` in a file offer together."""
    offers = [_offer(base, source, seen) for base in bases]
    names = frozenset(dir(object)).union(*(offer.names for offer in offers))
    return Offer(names, all(offer.complete for offer in offers))


def _offer(name: str, source: SourceFile, seen: frozenset[str]) -> Offer:
    found = source.definitions.get(name)
    if f"{source.path}:{name}" in seen:
        return Offer()
    if found and found.kind == "class":
        assert isinstance(found.node, cst.ClassDef)
        above = offer_of(found.bases, source, seen | {f"{source.path}:{name}"})
        return Offer(above.names | _names_in(found.node), above.complete and not found.node.decorators)
    if name == "nn.Module":
        folder = installed_folder("torch")
        return _offer("Module", read_source(folder / "nn/modules/module.py"), seen) if folder else Offer()
    return Offer(complete=True) if name == "object" else _imported_offer(name, source, seen)


def _imported_offer(name: str, source: SourceFile, seen: frozenset[str]) -> Offer:
    for statement in source.of_kind("import", "guard"):
        for node in imports_in(statement.node):
            for alias in aliases(node) if isinstance(node, cst.ImportFrom) else ():
                if (alias.evaluated_alias or alias.evaluated_name) == name:
                    assert isinstance(node, cst.ImportFrom)
                    return _offer_elsewhere(alias.evaluated_name, node, source, seen)
    return Offer()


def _offer_elsewhere(name: str, node: cst.ImportFrom, source: SourceFile, seen: frozenset[str]) -> Offer:
    try:
        return _offer(name, read_source(module_file(node, home_of(source.path))), seen)
    except (LookupError, ShardError):  # a package, or what is not installed
        return Offer()


@lru_cache(maxsize=64)  # every model's base has thousands of lines
def _names_in(node: cst.ClassDef) -> frozenset[str]:
    """Names that the body of a class may bind."""
    return frozenset(_bound(node.body))


def _bound(node: cst.CSTNode) -> Iterator[str]:
    """Names that a statement binds; what happens inside functions and classes is their own."""
    if isinstance(node, cst.FunctionDef | cst.ClassDef):
        yield node.name.value
    elif isinstance(node, cst.AssignTarget | cst.AnnAssign) and isinstance(node.target, cst.Name):
        yield node.target.value
    elif not isinstance(node, cst.BaseExpression):
        for child in node.children:
            yield from _bound(child)
