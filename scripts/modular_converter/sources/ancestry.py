"""What the bases of a class offer, as far as their files say: followed through imports, nothing is executed."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache

import libcst as cst
from libcst import matchers as m

from ..syntax.import_statements import aliases
from ..syntax.tree import walk
from .diagnostics import ShardError
from .module_lookup import module_file
from .paths import home_of, installed_folder
from .source import SourceFile, imports_in, read_source


@dataclass(frozen=True)
class Offer:
    """Names that bases define, and those they call on `super()`; `complete` when no base is out of sight."""

    names: frozenset[str] = frozenset()
    complete: bool = False
    supers: frozenset[str] = frozenset()
    classes: frozenset[str] = frozenset()


def offer_of(bases: Iterable[str], source: SourceFile) -> Offer:
    """What the classes called `bases` in a file, and `object`, offer together."""
    found = own_offer(bases, source)
    return replace(found, names=found.names | frozenset(dir(object)))


def own_offer(bases: Iterable[str], source: SourceFile, seen: frozenset[str] = frozenset()) -> Offer:
    """What classes offer besides what every object has."""
    offers = [_offer(base, source, seen) for base in bases]
    return Offer(
        frozenset().union(*(offer.names for offer in offers)),
        all(offer.complete for offer in offers),
        frozenset().union(*(offer.supers for offer in offers)),
        frozenset().union(*(offer.classes for offer in offers)),
    )


def _offer(name: str, source: SourceFile, seen: frozenset[str]) -> Offer:
    found = source.definitions.get(name)
    if f"{source.path}:{name}" in seen:
        return Offer()
    if found and found.kind == "class":
        assert isinstance(found.node, cst.ClassDef)
        above = own_offer(found.bases, source, seen | {f"{source.path}:{name}"})
        names, supers = above.names | _names_in(found.node), above.supers | _supers_in(found.node)
        return Offer(names, above.complete and not found.node.decorators, supers, above.classes | {name})
    if name == "nn.Module":
        folder = installed_folder("torch")
        above = _offer("Module", read_source(folder / "nn/modules/module.py"), seen) if folder else Offer()
        return replace(above, classes=above.classes | {name})
    return Offer(complete=True) if name == "object" else _imported_offer(name, source, seen)


def _imported_offer(name: str, source: SourceFile, seen: frozenset[str]) -> Offer:
    for statement in source.of_kind("import", "guard"):
        for node in imports_in(statement.node):
            for alias in aliases(node) if isinstance(node, cst.ImportFrom) else ():
                if (alias.evaluated_alias or alias.evaluated_name) == name:
                    assert isinstance(node, cst.ImportFrom)
                    above = _offer_elsewhere(alias.evaluated_name, node, source, seen)
                    return replace(above, classes=above.classes | {name})
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


@lru_cache(maxsize=64)
def _supers_in(node: cst.ClassDef) -> frozenset[str]:
    """What a class calls on `super()`."""
    on_super = m.Attribute(value=m.Call(func=m.Name("super")))
    return frozenset(
        each.attr.value for each in walk(node) if isinstance(each, cst.Attribute) and m.matches(each, on_super)
    )
