"""Replacing a `super().method(...)` statement by the body of the parent's method."""

import ast
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from .ancestry import Offer
from .diagnostics import Report, nearest
from .scan import without_comments
from .source import Chunk


@dataclass(frozen=True)
class Scope:
    """What merging the methods of one class needs to know.

    `exact` is for the shards of transformers: they are expanded as the files beside them were, oversights included.
    One of these is memory: what a child assigns or deletes after a `super()` call stays in force for the methods that
    follow. Other shards get the same result where it is right, and a problem at the place where it would not be.
    """

    report: Report
    exact: bool
    bases: tuple[str, ...] = ()
    parent_methods: frozenset[str] = frozenset()
    remembered: list[Chunk] | None = None
    inherited: Callable[[], Offer] = Offer


def super_position(statements: Sequence[Chunk], method: str) -> int | None:
    """Index of the first statement that is exactly `super().method(...)`, returned or not."""
    for index, chunk in enumerate(statements):
        if super_method(chunk.node) == method:
            return index
    return None


def super_method(node: ast.stmt) -> str | None:
    """The method that a statement calls on `super()`, if that call is all it does."""
    if not isinstance(node, ast.Expr | ast.Return):
        return None
    match node.value:
        case ast.Call(func=ast.Attribute(value=ast.Call(func=ast.Name(id="super"), args=[], keywords=[]), attr=name)):
            return name
    return None


def unroll(before: list[Chunk], call: Chunk, after: list[Chunk], pasted: list[Chunk], scope: Scope) -> list[Chunk]:
    """Put the parent's statements in the place of the call, and merge the child's later statements into them.

    The parent's own `super().__init__(...)` goes to the top when it comes first there, as torch wants it before
    anything is assigned.
    """
    first = pasted[:1] if pasted and super_method(pasted[0].node) == "__init__" else []
    earlier = list(scope.remembered or ())
    if scope.remembered is not None:
        scope.remembered.extend(after)
    pasted = _delete_targets(pasted[len(first) :], earlier)
    _check_deletions(pasted, after, scope)
    pasted = _delete_targets(pasted, after)
    after = [chunk for chunk in after if not isinstance(chunk.node, ast.Delete)]
    merged = merge_statements(pasted, earlier, after)
    if not [*first, *before, *merged]:
        merged = [replace(call, text=_indent_of(call.text) + "pass\n")]
    return _post_init_last([*first, *before, *merged])


def merge_statements(pasted: list[Chunk], earlier: Sequence[Chunk], after: Sequence[Chunk]) -> list[Chunk]:
    """The parent's statements with the child's assignments in place, then what is left of the child's."""
    overrides = {target: chunk for chunk in [*earlier, *after] if (target := assigned_target(chunk.node)) is not None}
    merged = [overrides.get(assigned_target(chunk.node) or "", chunk) for chunk in pasted]
    present = {without_comments(chunk.text) for chunk in merged}
    return merged + [chunk for chunk in after if without_comments(chunk.text) not in present]


def assigned_target(node: ast.stmt) -> str | None:
    """The text of the (first) target of an assignment."""
    match node:
        case ast.Assign(targets=[target, *_]) | ast.AnnAssign(target=target):
            return ast.unparse(target)
    return None


def _delete_targets(pasted: Iterable[Chunk], after: Iterable[Chunk]) -> list[Chunk]:
    """Drop the parent's assignments to what the child deletes."""
    deleted = {name for _, _, name in _deletions(after)}
    return [chunk for chunk in pasted if assigned_target(chunk.node) not in deleted]


def _check_deletions(pasted: Iterable[Chunk], after: Iterable[Chunk], scope: Scope) -> None:
    assigned = {assigned_target(chunk.node) or "" for chunk in pasted}
    for line, column, name in _deletions(after):
        if name not in assigned:
            hint = nearest(name, assigned)
            message = f"`del {name}` deletes nothing: the parent's method never assigns it{hint}"
            scope.report(line, column, message, warning=scope.exact)


def _deletions(after: Iterable[Chunk]) -> Iterator[tuple[int, int, str]]:
    """Line, column and text of what `del` statements name."""
    for chunk in after:
        for target in chunk.node.targets if isinstance(chunk.node, ast.Delete) else ():
            yield chunk.line, target.col_offset + 1, ast.unparse(target)


def _indent_of(text: str) -> str:
    return text[: len(text) - len(text.lstrip())]


def _post_init_last(statements: list[Chunk]) -> list[Chunk]:
    calls = [chunk for chunk in statements if without_comments(chunk.text) == "self.post_init()"]
    if not calls or statements[-1] in calls:
        return statements
    return [*(chunk for chunk in statements if chunk not in calls), calls[0]]
