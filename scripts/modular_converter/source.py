"""Source files as LibCST modules, and what the language makes of their top-level statements."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import libcst as cst
from libcst import matchers as m
from libcst.metadata import MetadataWrapper, PositionProvider

from .diagnostics import Diagnostic, ShardError, compile_error
from .tree import bare, code, identifiers, small, walk


FILES_KEPT = 24  # trees are big: the parents that many shards share stay, the others are parsed again
Line = cst.SimpleStatementLine | cst.BaseCompoundStatement
Import = cst.Import | cst.ImportFrom


@dataclass(frozen=True, eq=False)
class Statement:
    """A top-level statement; `kind` says what the language makes of it, `name` what it binds (if one plain name).

    A constant has several nodes when assignments to its items and attributes complete it.
    """

    kind: str
    name: str
    nodes: tuple[Line, ...]
    indent: str = "    "

    @property
    def node(self) -> Line:
        return self.nodes[0]

    @cached_property
    def identifiers(self) -> frozenset[str]:
        """Names used or mentioned by the code."""
        return identifiers(*self.nodes)

    @cached_property
    def bases(self) -> tuple[str, ...]:
        """The bases of a class, as they are written."""
        return tuple(code(arg.value) for arg in self.node.bases) if isinstance(self.node, cst.ClassDef) else ()

    @cached_property
    def code(self) -> str:
        """The source without the comments above it."""
        return code(bare(self.node)) + "".join(map(code, self.nodes[1:]))


@dataclass(frozen=True, eq=False)
class SourceFile:
    """A file that was read: its tree and its top-level statements, in order."""

    path: Path
    text: str
    module: cst.Module
    statements: tuple[Statement, ...]

    def of_kind(self, *kinds: str) -> Iterator[Statement]:
        """The statements of the given kinds, in order."""
        return (statement for statement in self.statements if statement.kind in kinds)

    @cached_property
    def header(self) -> str:
        """The comments before the first statement."""
        return "".join(map(code, self.module.header))

    @cached_property
    def definitions(self) -> dict[str, Statement]:
        """Classes, functions and constants by name; a name bound twice keeps its last statement."""
        found = {statement.name: statement for statement in self.of_kind("class", "function", "constant")}
        for extra in self.of_kind("attachment"):  # `Name[...] = value` and `Name.attribute = value`
            if owner := found.get(extra.name):
                found[extra.name] = Statement(owner.kind, owner.name, owner.nodes + extra.nodes, owner.indent)
        return found

    def position(self, node: cst.CSTNode) -> tuple[int, int]:
        """Line and column (from 1) of a node of this file; of a definition, where its decorators begin."""
        decorators: Sequence[cst.Decorator] = getattr(node, "decorators", ())
        start = self._positions[decorators[0] if decorators else node].start
        return start.line, start.column + 1

    def line(self, node: cst.CSTNode) -> int:
        return self.position(node)[0]

    def lines(self, node: cst.CSTNode) -> tuple[int, int]:
        """First and last line of a node, decorators aside."""
        place = self._positions[node]
        return place.start.line, place.end.line

    @cached_property
    def _positions(self):  # type: ignore[no-untyped-def]  # a private mapping of libcst
        return MetadataWrapper(self.module, unsafe_skip_copy=True).resolve(PositionProvider)


@lru_cache(maxsize=FILES_KEPT)
def read_source(path: Path) -> SourceFile:
    """Read and parse a file; the files read last are remembered."""
    try:
        text = path.read_text(encoding="utf-8").rstrip("\n") + "\n"
    except (OSError, UnicodeDecodeError) as error:
        raise ShardError([Diagnostic(path, 1, 1, f"cannot be read: {error}")]) from error
    return parse_source(path, text)


def parse_source(path: Path, text: str) -> SourceFile:
    """Parse `text`; `path` is where errors point to."""
    try:
        module = cst.parse_module(text)
    except Exception as error:  # besides its own error, the native parser lets a few others through
        raise ShardError([_syntax_problem(path, text, error)]) from error
    statements = tuple(_statement(node, module.default_indent) for node in module.body)
    return SourceFile(path, text, module, statements)


def _syntax_problem(path: Path, text: str, error: Exception) -> Diagnostic:
    """Where a text cannot be parsed: in Python's own words, or else in LibCST's."""
    if refused := compile_error(text):
        return Diagnostic(path, refused.lineno or 1, refused.offset or 1, f"invalid syntax: {refused.msg}")
    line, column = (error.raw_line, error.raw_column + 1) if isinstance(error, cst.ParserSyntaxError) else (1, 1)
    return Diagnostic(path, max(line, 1), max(column, 1), f"libcst cannot parse this: {error}")


def _statement(node: cst.BaseStatement, indent: str) -> Statement:
    assert isinstance(node, cst.SimpleStatementLine | cst.BaseCompoundStatement)
    kind, name = _classify(small(node))
    return Statement(kind, name, (node,), indent)


_LITERAL = m.SimpleString() | m.ConcatenatedString() | m.Integer() | m.Float() | m.Imaginary() | m.Ellipsis()
LITERAL_STATEMENT = m.Expr(_LITERAL | m.Name("None") | m.Name("True") | m.Name("False"))


def _classify(node: cst.CSTNode) -> tuple[str, str]:
    match node:
        case cst.ClassDef(name=cst.Name(value=name)):
            return "class", name
        case cst.FunctionDef(name=cst.Name(value=name)):
            return "function", name
        case cst.Import() | cst.ImportFrom():
            return "import", ""
        case cst.Assign(targets=[cst.AssignTarget(target=target)]):
            return _classify_assignment(target)
        case cst.If() if any(imports_in(node)):
            return "guard", ""
        case cst.TypeAlias(name=cst.Name(value=name)):
            return "constant", name
        case cst.Expr() if m.matches(node, LITERAL_STATEMENT):
            return "docstring", ""
        case cst.AnnAssign(target=cst.Name() as target, value=value) if value is not None:
            return _classify_assignment(target)
        case _:
            return "other", ""


def _classify_assignment(target: cst.BaseExpression) -> tuple[str, str]:
    match target:
        case cst.Name(value=("__all__" | "__getattr__") as name):
            return name, name
        case cst.Name(value=name):
            return "constant", name
        case cst.Subscript(value=cst.Name(value=name)) | cst.Attribute(value=cst.Name(value=name)):
            return "attachment", name
        case _:
            return "other", ""


def imports_in(node: cst.CSTNode) -> Iterator[Import]:
    """Every import statement inside a node."""
    return (each for each in walk(node) if isinstance(each, cst.Import | cst.ImportFrom))
