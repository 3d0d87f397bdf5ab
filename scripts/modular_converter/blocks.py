"""Classes and functions taken apart into pieces of text that can be put together again."""

import ast
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from itertools import pairwise

from .scan import closing_bracket, header_colon, split_commas
from .source import Chunk, first_line, lines_of, split_block


_DOCSTRING = re.compile(r'\s*[rRuU]?"""')


class Lines:
    """Text addressed by the positions of syntax-tree nodes (whose columns count UTF-8 bytes)."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.lines = lines_of(text)
        self._starts = [0]
        for line in self.lines:
            self._starts.append(self._starts[-1] + len(line))

    def offset(self, line: int, column: int) -> int:
        """Offset of a position in the text."""
        content = self.lines[line - 1]
        if not content.isascii():
            column = len(content.encode()[:column].decode())
        return self._starts[line - 1] + column

    def span(self, node: ast.expr | ast.stmt | ast.arg | ast.keyword) -> tuple[int, int]:
        """First and last offset of a node."""
        end = self.offset(node.end_lineno or node.lineno, node.end_col_offset or 0)
        return self.offset(node.lineno, node.col_offset), end

    def slice(self, node: ast.expr | ast.stmt | ast.arg | ast.keyword) -> str:
        """The source of a node."""
        start, end = self.span(node)
        return self.text[start:end]


@dataclass(frozen=True)
class Decorators:
    """The lines of each decorator, comments above it included, and the expression that it is."""

    lines: tuple[str, ...]
    names: tuple[str, ...]

    @property
    def text(self) -> str:
        """The lines of all of them."""
        return "".join(self.lines)

    def only(self, wanted: Callable[[str], bool]) -> "Decorators":
        """Those whose expression is wanted."""
        kept = [(lines, name) for lines, name in zip(self.lines, self.names, strict=True) if wanted(name)]
        return Decorators(tuple(lines for lines, _ in kept), tuple(name for _, name in kept))

    def __add__(self, other: "Decorators") -> "Decorators":
        return Decorators(self.lines + other.lines, self.names + other.names)


@dataclass(frozen=True)
class Function:
    """A method. `between` holds lines between the decorators and `def`, `trailing` what follows the colon on its line."""

    lead: str
    decorators: Decorators
    between: str
    is_async: bool
    name: str
    parameters: str
    returns: str
    trailing: str
    body: tuple[Chunk, ...]
    footer: str = ""
    line: int = 1

    def render(self) -> str:
        """The source of the method, with the comments above it."""
        keyword = "    async def " if self.is_async else "    def "
        arrow = f" -> {self.returns}" if self.returns else ""
        head = f"{keyword}{self.name}({self.parameters}){arrow}:{self.trailing}"
        return self.lead + self.decorators.text + self.between + head + join(self.body) + self.footer


@dataclass(frozen=True)
class Class:
    """A class: header pieces and the statements of its body."""

    lead: str
    decorators: Decorators
    between: str
    name: str
    bases: tuple[str, ...]
    keywords: tuple[str, ...]
    trailing: str
    body: tuple[Chunk, ...]
    line: int = 1


def join(chunks: Iterable[Chunk]) -> str:
    """The text of a block."""
    return "".join(chunk.lead + chunk.text for chunk in chunks)


def is_docstring(chunk: Chunk) -> bool:
    """A string statement in triple double quotes, wherever it stands in a block."""
    return (
        isinstance(chunk.node, ast.Expr)
        and isinstance(chunk.node.value, ast.Constant)
        and isinstance(chunk.node.value.value, str)
        and _DOCSTRING.match(chunk.text) is not None
    )


def read_class(lead: str, text: str, line: int = 1) -> Class:
    """Take apart the source of one top-level class; `line` is where it begins in its file."""
    node = ast.parse(text).body[0]
    assert isinstance(node, ast.ClassDef)
    lines = Lines(text)
    return Class(
        lead=lead,
        decorators=_decorators(lines, node),
        between=_between(lines, node),
        name=node.name,
        bases=tuple(lines.slice(base) for base in node.bases),
        keywords=tuple(lines.slice(keyword) for keyword in node.keywords),
        trailing=_trailing(lines, node),
        body=tuple(_shift(chunk, line - 1) for chunk in _body(lines, node)[0]),
        line=line + node.lineno - 1,
    )


def read_method(chunk: Chunk) -> Function:
    """Take apart a method found in the body of a class."""
    text = "if True:\n" + chunk.text
    outer = ast.parse(text).body[0]
    assert isinstance(outer, ast.If)
    node = outer.body[0]
    assert isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    lines = Lines(text)
    shift = chunk.line - 2
    body, footer = _body(lines, node)
    parameters, returns = _signature(lines, node)
    return Function(
        lead=chunk.lead,
        decorators=_decorators(lines, node),
        between=_between(lines, node),
        is_async=isinstance(node, ast.AsyncFunctionDef),
        name=node.name,
        parameters=parameters,
        returns=returns,
        trailing=_trailing(lines, node),
        body=tuple(_shift(part, shift) for part in body),
        footer=footer,
        line=node.lineno + shift,
    )


def parameter_list(function: Function) -> list[tuple[str, str]]:
    """(name, source) of each parameter; markers such as `*` are named by themselves."""
    found = []
    for piece in split_commas(function.parameters):
        match = re.match(r"(?:\s|\#[^\n]*\n)*(\*{0,2}\w*|/)", piece)
        found.append((match[1] if match else "", piece))
    return found


def _shift(chunk: Chunk, lines: int) -> Chunk:
    return replace(chunk, line=chunk.line + lines)


_Block = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def _decorators(lines: Lines, node: _Block) -> Decorators:
    ends = [first_line(node) - 1, *(decorator.end_lineno or 0 for decorator in node.decorator_list)]
    texts = tuple("".join(lines.lines[start:end]) for start, end in pairwise(ends))
    return Decorators(texts, tuple(lines.slice(decorator) for decorator in node.decorator_list))


def _between(lines: Lines, node: _Block) -> str:
    last = node.decorator_list[-1].end_lineno if node.decorator_list else None
    return "".join(lines.lines[last : node.lineno - 1]) if last else ""


def _colon(lines: Lines, node: _Block) -> int:
    return header_colon(lines.text, lines.offset(node.lineno, node.col_offset))


def _trailing(lines: Lines, node: _Block) -> str:
    """What follows the colon on the header's last line: a comment, or nothing."""
    after = lines.text[_colon(lines, node) + 1 :].split("\n", 1)[0]
    return f" {after.strip()}\n" if after.strip().startswith("#") else "\n"


def _signature(lines: Lines, node: ast.FunctionDef | ast.AsyncFunctionDef) -> tuple[str, str]:
    """The text between the parentheses, and the return annotation."""
    opening = lines.text.index("(", lines.offset(node.lineno, node.col_offset))
    closing = closing_bracket(lines.text, opening)
    returns = lines.text[closing + 1 : _colon(lines, node)].strip().removeprefix("->").strip()
    return lines.text[opening + 1 : closing], returns


def _body(lines: Lines, node: _Block) -> tuple[tuple[Chunk, ...], str]:
    """The statements of a block, and the comments that follow the last one."""
    colon = _colon(lines, node)
    first = node.body[0]
    start = lines.text.count("\n", 0, colon) + 1
    if first.lineno == start:  # `class A(B): pass`
        text = " " * (node.col_offset + 4) + lines.text[colon + 1 :].strip() + "\n"
        return (Chunk("", text, first.lineno, node.body[-1]),), ""
    chunks = tuple(split_block(lines.lines, node.body, start, len(lines.lines), first.col_offset))
    rest = "".join(lines.lines[start:])[len(join(chunks)) :]
    return chunks, rest
