"""What counts as a docstring (R14)."""

from collections.abc import Sequence

import libcst as cst

from .tree import small


def is_docstring(statement: cst.CSTNode) -> bool:
    """A string statement in triple double quotes, wherever it stands in a block."""
    node = small(statement)
    value = node.value if isinstance(node, cst.Expr) else None
    while isinstance(value, cst.ConcatenatedString):
        value = value.left
    return isinstance(value, cst.SimpleString) and value.quote == '"""' and value.prefix in ("", "r", "u")


def docstrings(body: list[cst.BaseStatement]) -> list[cst.BaseStatement]:
    """The docstrings of a block."""
    return [each for each in body if is_docstring(each)]


def statements(body: Sequence[cst.BaseStatement]) -> list[cst.BaseStatement]:
    """The statements of a block that are no docstrings."""
    return [each for each in body if not is_docstring(each)]


def python_docstring(body: Sequence[cst.BaseStatement]) -> list[cst.BaseStatement]:
    """The docstring of a block as Python sees it: its first statement, if that is a string in whatever quotes."""
    node = small(body[0]) if body else None
    value = node.value if isinstance(node, cst.Expr) else None
    return list(body[:1]) if isinstance(getattr(value, "evaluated_value", None), str) else []


def python_statements(body: Sequence[cst.BaseStatement]) -> list[cst.BaseStatement]:
    """The statements of a block after its docstring, as Python sees it."""
    return list(body[len(python_docstring(body)) :])
