"""Source files as LibCST modules, and what the language makes of their top-level statements."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import libcst as cst
from libcst import matchers as m
from libcst.metadata import CodeRange

from ..syntax.tree import bare, code, identifiers, small, walk
from .diagnostics import Diagnostic, ShardError
from .pieces import Line, Piece, cut


FILES_KEPT = 24  # trees are big: the parents that many shards share stay, the others are parsed again
Import = cst.Import | cst.ImportFrom


@dataclass(frozen=True, eq=False)
class Statement:
    """A top-level statement; `kind` says what the language makes of it, `name` what it binds (if one plain name).

    A constant has several parts when assignments to its items and attributes complete it.
    """

    kind: str
    name: str
    pieces: tuple[Piece, ...]
    places: tuple[int, ...] = (0,)

    @cached_property
    def nodes(self) -> tuple[Line, ...]:
        """The trees. Raises ShardError where a definition, parsed only now, is not one for LibCST."""
        return tuple(piece.statements[place] for piece, place in zip(self.pieces, self.places, strict=True))

    @property
    def node(self) -> Line:
        return self.nodes[0]

    @property
    def indent(self) -> str:
        """What one level of its file is indented by."""
        return self.pieces[0].module.default_indent

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
        first = self.pieces[0].code if self.pieces[0].kind else code(bare(self.node))
        return first + "".join(map(code, self.nodes[1:]))

    @cached_property
    def text(self) -> str:
        """The source with the comments above it."""
        first = self.pieces[0].text if self.pieces[0].kind else code(self.node)
        return first + "".join(map(code, self.nodes[1:]))

    def completed(self, extra: "Statement") -> "Statement":
        """With an assignment to one of its items or attributes."""
        return Statement(self.kind, self.name, self.pieces + extra.pieces, self.places + extra.places)


@dataclass(frozen=True, eq=False)
class SourceFile:
    """A file that was read: its pieces and its top-level statements, in order."""

    path: Path
    text: str
    pieces: tuple[Piece, ...]
    statements: tuple[Statement, ...]

    def of_kind(self, *kinds: str) -> Iterator[Statement]:
        """The statements of the given kinds, in order."""
        return (statement for statement in self.statements if statement.kind in kinds)

    @property
    def header_lines(self) -> Sequence[cst.EmptyLine]:
        """The comments and empty lines before the first statement."""
        return self.pieces[0].module.header

    @cached_property
    def header(self) -> str:
        """The text of these lines."""
        return "".join(map(code, self.header_lines))

    @cached_property
    def definitions(self) -> dict[str, Statement]:
        """Classes, functions and constants by name; a name bound twice keeps its last statement."""
        found = {statement.name: statement for statement in self.of_kind("class", "function", "constant")}
        for extra in self.of_kind("attachment"):  # `Name[...] = value` and `Name.attribute = value`
            if owner := found.get(extra.name):
                found[extra.name] = owner.completed(extra)
        return found

    def position(self, node: cst.CSTNode) -> tuple[int, int]:
        """Line and column (from 1) of a node of this file; of a definition, where its decorators begin. Raises LookupError."""
        decorators: Sequence[cst.Decorator] = getattr(node, "decorators", ())
        place, above = self._range(decorators[0] if decorators else node)
        return place.start.line + above, place.start.column + 1

    def line(self, node: cst.CSTNode) -> int:
        return self.position(node)[0]

    def lines(self, node: cst.CSTNode) -> tuple[int, int]:
        """First and last line of a node, decorators aside."""
        place, above = self._range(node)
        return place.start.line + above, place.end.line + above

    def _range(self, node: cst.CSTNode) -> tuple[CodeRange, int]:
        """Where a node is in its piece, and how many lines there are above that."""
        piece = self._piece_of(node)
        return piece.positions[node], piece.first_line - 1

    def _piece_of(self, node: cst.CSTNode) -> Piece:
        """The piece that holds a node, which mostly is a statement."""
        for piece in self.pieces:
            if any(each is node for each in piece.parsed):
                return piece
        for piece in self.pieces:
            if piece.parsed and node in piece.positions:
                return piece
        raise LookupError("the node is not of this file")


@lru_cache(maxsize=FILES_KEPT)
def read_source(path: Path) -> SourceFile:
    """Read a file; the files read last are remembered."""
    try:
        text = path.read_text(encoding="utf-8-sig").rstrip("\n") + "\n"
    except (OSError, UnicodeDecodeError) as error:
        raise ShardError([Diagnostic(path, 1, 1, f"cannot be read: {error}")]) from error
    return parse_source(path, text)


def parse_source(path: Path, text: str) -> SourceFile:
    """The statements of `text`; `path` is where errors point to."""
    pieces = tuple(cut(path, text))
    return SourceFile(path, text, pieces, tuple(each for piece in pieces for each in _statements(piece)))


def _statements(piece: Piece) -> Iterator[Statement]:
    if piece.kind:
        yield Statement(piece.kind, piece.name, (piece,))
        return
    for place, node in enumerate(piece.statements):
        yield Statement(*_classify(small(node)), (piece,), (place,))


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
