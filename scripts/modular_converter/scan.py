"""The lexical view of Python source: enough to find names, strings and comments without building a tree.

Renaming and dependency search look at millions of tokens; a compiled regular expression reads them at C speed, and
offsets into the text stay exact, which lets every other step work by cutting and pasting source.
"""

import re
from collections.abc import Callable, Iterator
from functools import lru_cache


_STRING = (
    r"(?:[rbuRBU]|[bB][rR]|[rR][bB])?"
    r'(?:"""(?:[^"\\]|\\.|"(?!""))*"""|\'\'\'(?:[^\'\\]|\\.|\'(?!\'\'))*\'\'\''
    r'|"(?:[^"\\\n]|\\.)*"|\'(?:[^\'\\\n]|\\.)*\')'
)
_FSTRING = _STRING.replace("(?:[rbuRBU]|[bB][rR]|[rR][bB])?", "(?:[fF][rR]?|[rR][fF])", 1)

TOKEN = re.compile(
    rf"(?P<comment>\#[^\n]*)|(?P<fstring>{_FSTRING})|(?P<string>{_STRING})"
    r"|(?P<name>[^\W\d]\w*)|(?P<number>\d\w*)|(?P<bracket>[()\[\]{}])|(?P<colon>:)|(?P<comma>,)",
    re.DOTALL,
)
OPAQUE = rf"\#[^\n]*|(?P<fstring>{_FSTRING})|{_STRING}"  # what is not code, f-strings included
_OPAQUE = re.compile(OPAQUE, re.DOTALL)
_NAME = re.compile(r"\b[^\W\d]\w*")
_OPEN, _CLOSE = frozenset("([{"), frozenset(")]}")


def identifiers(text: str) -> frozenset[str]:
    """Every identifier token of the code, including attribute and keyword names; never words of strings or comments."""

    def keep_code(match: re.Match[str]) -> str:
        fstring = match["fstring"]
        return " " if fstring is None else " ".join(code for is_code, code in fstring_parts(fstring) if is_code)

    code = _OPAQUE.sub(keep_code, text)
    if '"' in code or "'" in code:  # strings inside the expressions of an f-string
        code = _OPAQUE.sub(" ", code)
    return frozenset(_NAME.findall(code))


@lru_cache(maxsize=4096)
def fstring_parts(text: str) -> tuple[tuple[bool, str], ...]:
    """Split an f-string into (is_code, text) parts that join to the original; format specs count as text."""
    return tuple(_fstring_parts(text))


def _fstring_parts(text: str) -> Iterator[tuple[bool, str]]:
    start = position = 0
    while (position := text.find("{", position)) != -1:
        if text.startswith("{{", position):
            position += 2
            continue
        end = _expression_end(text, position + 1)
        yield False, text[start : position + 1]
        yield True, text[position + 1 : end]
        start = position = end
    yield False, text[start:]


def _expression_end(text: str, position: int) -> int:
    """Where the replacement field that starts at `position` stops being an expression."""
    depth = 0
    while position < len(text):
        string = _OPAQUE.match(text, position) if text[position] in "\"'" else None
        if string:
            position = string.end()
            continue
        character = text[position]
        if depth == 0 and (character in "}:" or (character == "!" and text[position + 1] != "=")):
            return position
        depth += (character in _OPEN) - (character in _CLOSE)
        position += 1
    return position


def map_code(text: str, edit: Callable[[str, str], str]) -> str:
    """Rebuild `text` with each name, string and comment token replaced by `edit(kind, token)`."""

    def replace(match: re.Match[str]) -> str:
        kind = match.lastgroup or ""
        if kind == "fstring":
            return "".join(map_code(part, edit) if code else part for code, part in fstring_parts(match[0]))
        return edit(kind, match[0]) if kind in ("name", "string", "comment") else match[0]

    return TOKEN.sub(replace, text)


def without_comments(text: str) -> str:
    """The code alone, with white space folded: two statements are the same when these are equal."""

    def drop(match: re.Match[str]) -> str:
        return "" if match[0].startswith("#") else match[0]

    return " ".join(_OPAQUE.sub(drop, text).split())


def header_colon(text: str, start: int = 0) -> int:
    """Offset of the colon that ends the `class` or `def` header which begins at `start`."""
    depth = 0
    for match in TOKEN.finditer(text, start):
        if match.lastgroup == "bracket":
            depth += 1 if match[0] in _OPEN else -1
        elif match.lastgroup == "colon" and depth == 0:
            return match.start()
    raise ValueError("a class or def header without a colon")


def closing_bracket(text: str, opening: int) -> int:
    """Offset of the bracket that closes the one at `opening`."""
    depth = 0
    for match in TOKEN.finditer(text, opening):
        if match.lastgroup == "bracket":
            depth += 1 if match[0] in _OPEN else -1
            if depth == 0:
                return match.start()
    raise ValueError("a bracket that is never closed")


def split_commas(text: str) -> list[str]:
    """Cut at the commas outside brackets; each piece keeps its comma and the comment that follows it on the line."""
    depth, cuts = 0, [0]
    for match in TOKEN.finditer(text):
        if match.lastgroup == "bracket":
            depth += 1 if match[0] in _OPEN else -1
        elif match.lastgroup == "comma" and depth == 0:
            trailing = re.compile(r"[ \t]*\#[^\n]*\n?").match(text, match.end())
            cuts.append(trailing.end() if trailing else match.end())
    pieces = [text[a:b] for a, b in zip(cuts, [*cuts[1:], len(text)], strict=True)]
    return [piece for piece in pieces if piece.strip()]


def split_comment(text: str) -> tuple[str, str]:
    """The code, and the comment behind it on its last line (or nothing)."""
    comment = None
    for match in TOKEN.finditer(text):
        comment = match if match.lastgroup == "comment" else None
    return (text[: comment.start()], comment[0]) if comment else (text, "")
