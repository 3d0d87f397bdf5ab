"""Walking and rewriting trees: what a visitor does, at a fraction of its price.

LibCST's transformers rebuild every node that they pass. Most of a file stays as it is, so these functions rebuild only
the nodes above a change and share the rest with the old tree.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields
from functools import cache
from typing import Any, TypeVar

import libcst as cst


Node = TypeVar("Node", bound=cst.CSTNode)
Edits = Mapping[type[cst.CSTNode], Callable[[Any], cst.CSTNode | None]]
_EMPTY = cst.Module([])
_LAYOUT = ("leading_lines", "lines_after_decorators", "header", "footer", "comma", "semicolon", "newline", "indent")


def code(node: cst.CSTNode) -> str:
    """The source of a node, with the comments above it if it is a statement."""
    if type(node) is cst.Name and not node.lpar:
        return node.value
    return _EMPTY.code_for_node(node)


@cache
def _fields(kind: type[cst.CSTNode]) -> tuple[str, ...]:
    return tuple(field.name for field in fields(kind))


@cache
def _is_node(kind: type) -> bool:
    """Nodes are of an abstract class, of which `isinstance` is slow."""
    return issubclass(kind, cst.CSTNode)


@cache
def code_fields(kind: type[cst.CSTNode]) -> tuple[str, ...]:
    """The fields that hold code: white space and comments are left out."""
    return tuple(name for name in _fields(kind) if name not in _LAYOUT and "whitespace" not in name)


def walk(node: cst.CSTNode) -> Iterator[cst.CSTNode]:
    """A node and everything of its code, in the order of the source; no white space and no comments."""
    stack = [node]
    while stack:
        current = stack.pop()
        yield current
        found: list[cst.CSTNode] = []
        for name in code_fields(type(current)):
            value = getattr(current, name)
            if _is_node(value.__class__):
                found.append(value)
            elif type(value) in (tuple, list):
                found += value
        found.reverse()
        stack += found


def identifiers(*nodes: cst.CSTNode) -> frozenset[str]:
    """Every name in the code, attributes and keywords included; never a word of a string or a comment."""
    return frozenset(each.value for node in nodes for each in walk(node) if isinstance(each, cst.Name))


def rewrite(node: Node, edits: Edits) -> Node:
    """The tree with each node whose type `edits` names replaced; an edit looks deeper itself, by `descend`."""
    edit = edits.get(type(node))
    return descend(node, edits) if edit is None else edit(node)  # type: ignore[return-value]


def descend(node: Node, edits: Edits) -> Node:
    """The node with its children rewritten; the node itself where nothing changes."""
    changes: dict[str, object] = {}
    for name in _fields(type(node)):
        value = getattr(node, name)
        if _is_node(value.__class__):
            new = rewrite(value, edits)
            if new is not value:
                changes[name] = new
        elif type(value) in (tuple, list) and value:
            several = [rewrite(each, edits) for each in value]
            if any(new is not old for new, old in zip(several, value, strict=True)):
                changes[name] = several
    return node.with_changes(**changes) if changes else node


def bare(node: Node) -> Node:
    """A statement without the lines above it."""
    return node.with_changes(leading_lines=()) if getattr(node, "leading_lines", ()) else node


def without_comments(node: cst.CSTNode) -> str:
    """The code alone, with white space folded: two statements are the same when these are equal."""
    return " ".join(code(rewrite(bare(node), {cst.Comment: lambda comment: None})).split())


def small(node: Any) -> Any:
    """The statement on a line of its own (the last of several on one line); a compound statement is itself."""
    return node.body[-1] if isinstance(node, cst.SimpleStatementLine) else node


def same_code(first: cst.CSTNode, second: cst.CSTNode) -> bool:
    """Whether two nodes are the same code, comments, layout, parentheses and quotes aside."""
    return essence(first) == essence(second)


def essence(node: cst.CSTNode) -> tuple[object, ...]:
    """The code of a node without comments, layout, parentheses and kinds of quotes."""
    return tuple(map(_essence, _bare_walk(node)))


def _bare_walk(node: cst.CSTNode) -> Iterator[cst.CSTNode]:
    return (each for each in walk(node) if not isinstance(each, cst.LeftParen | cst.RightParen))


def _essence(node: cst.CSTNode) -> tuple[type[cst.CSTNode], object]:
    if isinstance(node, cst.SimpleString):
        return type(node), node.evaluated_value
    value = getattr(node, "value", None)
    return type(node), value if isinstance(value, str) else None


def block(suite: cst.BaseSuite) -> cst.IndentedBlock:
    """The body of a class or function as an indented block, also where it stands behind the colon."""
    if isinstance(suite, cst.IndentedBlock):
        return suite
    assert isinstance(suite, cst.SimpleStatementSuite)
    line = cst.SimpleStatementLine(suite.body, trailing_whitespace=suite.trailing_whitespace)
    return cst.IndentedBlock([line])


def comments(lines: Sequence[cst.EmptyLine]) -> list[str]:
    """The comments of the lines above a statement."""
    return [line.comment.value for line in lines if line.comment]


def dotted(name: str) -> cst.Name | cst.Attribute:
    """`a.b.c` as an expression."""
    first, *rest = name.split(".")
    node: cst.Name | cst.Attribute = cst.Name(first)
    for part in rest:
        node = cst.Attribute(node, cst.Name(part))
    return node
