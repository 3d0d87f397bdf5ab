"""Which names code binds and reads, as Python's own compiler sees it."""

import symtable
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import libcst as cst

from .tree import bare, code, walk


_AT_ONCE = ("listcomp", "setcomp", "dictcomp")  # comprehensions that run where they stand
_INSIGHT = frozenset({"locals", "vars", "dir", "eval", "exec"})  # what sees the names around it


@dataclass(frozen=True)
class Names:
    """What a block binds and reads of the names around it; `captured` are read later, by functions defined in it.

    `opaque`: it cannot be known, as with `locals()` or `nonlocal`.
    """

    bound: frozenset[str] = frozenset()
    read: frozenset[str] = frozenset()
    captured: frozenset[str] = frozenset()
    opaque: bool = False

    @property
    def all(self) -> frozenset[str]:
        return self.bound | self.read


def names_of_body(statements: Sequence[cst.BaseStatement], asynchronous: bool = False) -> Names:
    """The names of statements that stand in a function."""
    return _names("async def _():" if asynchronous else "def _():", statements)


def names_of_class_body(statements: Sequence[cst.BaseStatement]) -> Names:
    """The names of statements that stand in a class; those that its methods read when they run are not among them."""
    return _names("class _:", statements)


def names_of_expression(node: cst.BaseExpression) -> Names:
    return names_of_body([cst.SimpleStatementLine([cst.Expr(node)])])


def _names(header: str, statements: Sequence[cst.BaseStatement]) -> Names:
    body = cst.IndentedBlock([bare(each) for each in statements] or [cst.SimpleStatementLine([cst.Pass()])])
    try:
        table = symtable.symtable(f"{header}{code(body)}", "<body>", "exec").get_children()[0]
    except SyntaxError:
        return Names(opaque=True)
    symbols = table.get_symbols()
    bound = frozenset(each.get_name() for each in symbols if each.is_assigned() or each.is_imported())
    mine = frozenset(each.get_name() for each in symbols if each.is_referenced())
    inner = [] if header.startswith("class") else list(_inner(table))
    read = mine | {name for name, _ in inner}
    declared = any(each.is_declared_global() or each.is_nonlocal() for each in symbols)
    captured = frozenset(name for name, later in inner if later)
    return Names(bound, read, captured, declared or not _INSIGHT.isdisjoint(read))


def _inner(table: symtable.SymbolTable, later: bool = False) -> Iterator[tuple[str, bool]]:
    """(name, whether it is read later) of what inner functions, classes and comprehensions read from outside."""
    for child in table.get_children():
        deferred = later or child.get_name() not in _AT_ONCE
        for symbol in child.get_symbols():
            if symbol.is_global() or symbol.is_free():
                yield symbol.get_name(), deferred
        yield from ((name, late) for name, late in _inner(child, deferred))


def runs_later(node: cst.CSTNode) -> bool:
    """Whether the code in a node belongs to a function or class of its own."""
    return isinstance(node, cst.FunctionDef | cst.Lambda | cst.ClassDef)


def own_walk(nodes: Iterable[cst.CSTNode]) -> Iterator[cst.CSTNode]:
    """The nodes of code that belong to the function which it stands in: not those of inner functions and classes."""
    for node in nodes:
        inner = {id(each) for found in walk(node) if runs_later(found) for each in walk(found) if each is not found}
        yield from (each for each in walk(node) if id(each) not in inner)
