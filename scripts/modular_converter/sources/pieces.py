"""A file cut into pieces that are parsed on demand: each class and function of its top level, and what lies between.

Parsing is what an expansion spends most of its time on, and of a parent's file few definitions are used. Python's own
symbol table says natively where definitions begin; where the cut is in doubt, the whole file is one piece.
"""

import symtable
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import dropwhile
from pathlib import Path

import libcst as cst
from libcst.metadata import CodeRange, MetadataWrapper, PositionProvider

from .diagnostics import Diagnostic, ShardError, compile_error


Line = cst.SimpleStatementLine | cst.BaseCompoundStatement
_DEFINITION = ("class ", "def ", "async def ")
_CLOSING = (")", "]", "}")  # such a line ends the brackets of the statement before it


_MARK = "<<<<<<< "


@dataclass(frozen=True, eq=False)
class Piece:
    """Lines of a file that are parsed together; `kind` and `name` are those of its only statement, if it is a
    definition."""

    path: Path
    text: str
    first_line: int = 1
    kind: str = ""
    name: str = ""

    @cached_property
    def module(self) -> cst.Module:
        """The parsed lines. Raises ShardError."""
        try:
            return cst.parse_module(self.text)
        except Exception as error:  # besides its own error, the native parser lets a few others through
            raise ShardError(self._conflicts() or [self._syntax_problem(error)]) from error

    def _conflicts(self) -> list[Diagnostic]:
        """Conflicts that a merge left."""
        remedy = "keep what is right of both sides, and take the marks out"
        lines = enumerate(self.text.splitlines(), self.first_line)
        return [
            Diagnostic(self.path, line, 1, f"a conflict that a merge left, in {text.removeprefix(_MARK)}: {remedy}")
            for line, text in lines
            if text.startswith(_MARK)
        ]

    def _syntax_problem(self, error: Exception) -> Diagnostic:
        """Where the lines cannot be parsed: in Python's own words, or else in LibCST's."""
        above = self.first_line - 1
        if refused := compile_error(self.text):
            place = (above + (refused.lineno or 1), refused.offset or 1)
            return Diagnostic(self.path, *place, f"invalid syntax: {refused.msg}")
        line, column = (error.raw_line, error.raw_column + 1) if isinstance(error, cst.ParserSyntaxError) else (1, 1)
        return Diagnostic(self.path, above + max(line, 1), max(column, 1), f"libcst cannot parse this: {error}")

    @cached_property
    def statements(self) -> Sequence[Line]:
        """The statements, with all the lines above each; those at the top of a file are its header."""
        header, body = self.module.header, self.module.body
        if self.first_line == 1 or not header or not body:
            return body
        first = body[0].with_changes(leading_lines=(*header, *body[0].leading_lines))
        return (first, *body[1:])

    @cached_property
    def code(self) -> str:
        """The text without the comments and empty lines above the first statement."""
        lines = self.text.splitlines(keepends=True)
        return "".join(dropwhile(_says_nothing, lines))

    @property
    def parsed(self) -> Sequence[Line]:
        """The statements, if they were asked for before."""
        return self.statements if "statements" in self.__dict__ else ()

    @cached_property
    def positions(self) -> dict[cst.CSTNode, CodeRange]:
        """Where each node is, counted from the first line of the piece."""
        module = self.module.with_changes(header=(), body=self.statements) if self.first_line > 1 else self.module
        return MetadataWrapper(module, unsafe_skip_copy=True).resolve(PositionProvider)  # type: ignore[return-value]


def cut(path: Path, text: str) -> list[Piece]:
    """The pieces of a file, in order; together they are its text."""
    try:
        table = symtable.symtable(text, "", "exec")
    except (SyntaxError, ValueError):
        return [Piece(path, text)]
    lines = text.splitlines(keepends=True)
    scopes = {child.get_lineno() - 1: child.get_name() for child in table.get_children()}
    pieces = list(_pieces(path, lines, {at: name for at, name in scopes.items() if lines[at].startswith(_DEFINITION)}))
    return pieces if all(map(_stands_alone, pieces)) else [Piece(path, text)]


def _stands_alone(piece: Piece) -> bool:
    """Whether the lines between definitions can be parsed: a string that goes on at the margin ends there."""
    if piece.text.endswith("\\\n"):
        return False
    try:
        return bool(piece.kind) or piece.module is not None
    except ShardError:  # of the whole file, which is parsed then
        return False


def _pieces(path: Path, lines: Sequence[str], definitions: dict[int, str]) -> Iterator[Piece]:
    done = 0
    for at, name in definitions.items():
        start = _with_lead(lines, _with_decorators(lines, at, done), done)
        if start > done:
            yield Piece(path, "".join(lines[done:start]), done + 1)
        done = _end(lines, at)
        kind = "class" if lines[at].startswith("class ") else "function"
        yield Piece(path, "".join(lines[start:done]), start + 1, kind, name)
    if done < len(lines) or not definitions:
        yield Piece(path, "".join(lines[done:]), done + 1)


def _with_decorators(lines: Sequence[str], at: int, above: int) -> int:
    """The line of the first decorator of the definition at a line."""
    first = at
    for index in range(at - 1, above - 1, -1):
        if lines[index].startswith("@"):
            first = index
        elif not _continues(lines[index]):
            break
    return first


def _with_lead(lines: Sequence[str], at: int, above: int) -> int:
    """The first of the empty lines and comments right above a line; an indented comment may end a block above."""
    if all(map(_says_nothing, lines[above:at])):
        return above
    while lines[at - 1].isspace() or lines[at - 1].startswith("#"):
        at -= 1
    return at


def _says_nothing(line: str) -> bool:
    return line.isspace() or line.lstrip().startswith("#")


def _end(lines: Sequence[str], at: int) -> int:
    """The line after a definition; what is said at the margin below it belongs to the next statement."""
    end = at + 1
    while end < len(lines) and _continues(lines[end]):
        end += 1
    body = min((_indent(line) for line in lines[at + 1 : end] if _indent(line) and not _says_nothing(line)), default=1)
    while _says_nothing(last := lines[end - 1]) and (last.isspace() or _indent(last) < body):
        end -= 1
    return end


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _continues(line: str) -> bool:
    """Whether a line goes on with the statement above, or is empty or a comment."""
    return line[0].isspace() or line.startswith(("#", *_CLOSING))
