"""What the bases of a class offer, as far as their files say: followed through imports, nothing is executed."""

import ast
from collections.abc import Iterable
from dataclasses import dataclass

from .diagnostics import ShardError
from .resolve import home_of, installed_folder, module_file
from .source import SourceFile, read_source


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
        node = ast.parse(found.text).body[0]
        above = offer_of(found.bases, source, seen | {f"{source.path}:{name}"})
        return Offer(above.names | _names_in(node), above.complete and not getattr(node, "decorator_list", ()))
    if name == "nn.Module":
        folder = installed_folder("torch")
        return _offer("Module", read_source(folder / "nn/modules/module.py"), seen) if folder else Offer()
    return Offer(complete=True) if name == "object" else _imported_offer(name, source, seen)


def _imported_offer(name: str, source: SourceFile, seen: frozenset[str]) -> Offer:
    for statement in source.of_kind("import", "guard"):
        for node in ast.walk(statement.node) if statement.node else ():
            for alias in node.names if isinstance(node, ast.ImportFrom) else ():
                if (alias.asname or alias.name) == name:
                    assert isinstance(node, ast.ImportFrom)
                    return _offer_elsewhere(alias.name, node, source, seen)
    return Offer()


def _offer_elsewhere(name: str, node: ast.ImportFrom, source: SourceFile, seen: frozenset[str]) -> Offer:
    try:
        return _offer(name, read_source(module_file(node, home_of(source.path))), seen)
    except ShardError:  # a package, or what is not installed
        return Offer()


def _names_in(node: ast.AST) -> frozenset[str]:
    """Names that the body of a class may bind (and some more)."""
    functions = (child.name for child in ast.walk(node) if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef))
    stored = (child for child in ast.walk(node) if isinstance(child, ast.Name) and isinstance(child.ctx, ast.Store))
    return frozenset([*functions, *(child.id for child in stored)])
