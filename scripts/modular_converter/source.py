"""Source files as sequences of top-level statements.

The syntax tree is used to find where statements begin and end, then dropped: everything later works on the text of the
few statements that are needed, so comments and layout survive and most of a parent is never looked at again.
"""

import ast
import re
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

from .diagnostics import Diagnostic, ShardError
from .scan import identifiers


@dataclass(frozen=True)
class Chunk:
    """A statement of some block: the comment and blank lines above it, its own lines, and its node."""

    lead: str
    text: str
    line: int
    node: ast.stmt


@dataclass(frozen=True, eq=False)
class Statement:
    """A top-level statement; `kind` says what the language makes of it, `name` what it binds (if one plain name)."""

    kind: str
    name: str
    lead: str
    text: str
    line: int
    node: ast.stmt | None = None
    bases: tuple[str, ...] = ()

    @cached_property
    def identifiers(self) -> frozenset[str]:
        """Names used or mentioned by the code, as tokens."""
        return identifiers(self.text)


@dataclass(frozen=True, eq=False)
class SourceFile:
    """A file that was read: its header comments and its top-level statements, in order."""

    path: Path
    header: str
    statements: tuple[Statement, ...]
    text: str

    def of_kind(self, *kinds: str) -> Iterator[Statement]:
        """The statements of the given kinds, in order."""
        return (statement for statement in self.statements if statement.kind in kinds)

    @cached_property
    def definitions(self) -> dict[str, Statement]:
        """Classes, functions and constants by name; a name bound twice keeps its last statement."""
        found: dict[str, Statement] = {}
        for statement in self.of_kind("class", "function", "constant"):
            found[statement.name] = statement
        return _with_attachments(found, self.of_kind("attachment"))


@cache
def read_source(path: Path) -> SourceFile:
    """Read and split a file; each file is read once in a process."""
    try:
        text = path.read_text(encoding="utf-8").rstrip("\n") + "\n"
    except (OSError, UnicodeDecodeError) as error:
        raise ShardError([Diagnostic(path, 1, 1, f"cannot be read: {error}")]) from error
    return parse_source(path, text)


def parse_source(path: Path, text: str) -> SourceFile:
    """Split `text` into top-level statements; `path` is where errors point to."""
    try:
        tree = ast.parse(text)
    except SyntaxError as error:
        raise ShardError(
            [Diagnostic(path, error.lineno or 1, error.offset or 1, f"invalid syntax: {error.msg}")]
        ) from error
    lines = lines_of(text)
    chunks = list(split_block(lines, tree.body, 0, len(lines), 0))
    if not chunks:
        return SourceFile(path, text, (), text)
    header = chunks[0].lead
    chunks[0] = Chunk("", chunks[0].text, chunks[0].line, chunks[0].node)
    return SourceFile(path, header, tuple(_statement(chunk) for chunk in chunks), text)


def compile_error(text: str) -> SyntaxError | None:
    """Why Python refuses to compile a text, None when it does not."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            compile(text, "<text>", "exec", dont_inherit=True)
    except SyntaxError as error:
        return error
    return None


def lines_of(text: str) -> list[str]:
    """Lines with their ends, cut only where Python's own parser counts a new line."""
    return re.findall(r"[^\n]*\n|[^\n]+", text)


def first_line(node: ast.stmt) -> int:
    """Line (from 1) on which a statement begins, its decorators included."""
    decorators: Sequence[ast.expr] = getattr(node, "decorator_list", ())
    return min([node.lineno, *(decorator.lineno for decorator in decorators)])


def split_block(lines: list[str], nodes: Sequence[ast.stmt], start: int, end: int, indent: int) -> Iterator[Chunk]:
    """Cut `lines[start:end]` at the statements `nodes` of one block.

    Comments between two statements belong to the second, unless they are indented deeper than the block and the first
    has a block of its own.
    """
    cursor = start
    for node, following in zip(nodes, [*nodes[1:], None], strict=True):
        first, last = first_line(node) - 1, node.end_lineno or node.lineno
        limit = first_line(following) - 1 if following else end
        if following and limit < last:  # two statements on one line: keep them together with the second
            continue
        first = max(first, cursor)
        stop = _footer_end(lines, last, limit, indent) if hasattr(node, "body") else last
        yield Chunk("".join(lines[cursor:first]), "".join(lines[first:stop]), first + 1, node)
        cursor = stop


def _footer_end(lines: list[str], start: int, limit: int, indent: int) -> int:
    stop = start
    for number in range(start, limit):
        line = lines[number]
        if not line.strip():
            continue
        if len(line) - len(line.lstrip()) <= indent:
            break
        stop = number + 1
    return stop


def _statement(chunk: Chunk) -> Statement:
    kind, name = _classify(chunk.node)
    node = chunk.node if kind in ("import", "guard") else None
    bases = tuple(map(ast.unparse, chunk.node.bases)) if isinstance(chunk.node, ast.ClassDef) else ()
    return Statement(kind, name, chunk.lead, chunk.text, chunk.line, node, bases)


def _classify(node: ast.stmt) -> tuple[str, str]:
    match node:
        case ast.ClassDef():
            return "class", node.name
        case ast.FunctionDef() | ast.AsyncFunctionDef():
            return "function", node.name
        case ast.Import() | ast.ImportFrom():
            return "import", ""
        case ast.Assign(targets=[target]):
            return _classify_assignment(target)
        case ast.If() if _holds_imports(node):
            return "guard", ""
        case ast.Expr(value=ast.Constant()):
            return "docstring", ""
        case ast.AnnAssign(target=ast.Name() as target, value=value) if value is not None:
            return _classify_assignment(target)
        case _:
            return "other", ""


def _classify_assignment(target: ast.expr) -> tuple[str, str]:
    match target:
        case ast.Name(id=("__all__" | "__getattr__") as name):
            return name, name
        case ast.Name(id=name):
            return "constant", name
        case ast.Subscript(value=ast.Name(id=name)) | ast.Attribute(value=ast.Name(id=name)):
            return "attachment", name
        case _:
            return "other", ""


def _holds_imports(node: ast.If) -> bool:
    return any(isinstance(child, ast.Import | ast.ImportFrom) for child in ast.walk(node))


def _with_attachments(found: dict[str, Statement], attachments: Iterator[Statement]) -> dict[str, Statement]:
    """`Name[...] = value` and `Name.attribute = value` travel with the constant they complete."""
    for extra in attachments:
        if owner := found.get(extra.name):
            text = owner.text + extra.lead + extra.text
            found[extra.name] = Statement(owner.kind, owner.name, owner.lead, text, owner.line)
    return found
