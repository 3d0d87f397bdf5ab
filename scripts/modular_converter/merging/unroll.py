"""Replacing a `super().method(...)` statement by the body of the parent's method."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import libcst as cst

from ..sources.ancestry import Offer
from ..sources.diagnostics import nearest
from ..syntax.statements import assigned_target, deletions, post_init_last, super_method
from ..syntax.tree import small, without_comments


class Report(Protocol):
    """How a step tells of a problem at a node of the shard at hand."""

    def __call__(self, node: cst.CSTNode, message: str, warning: bool = False) -> None:
        """Remember the problem; the run goes on to find the others."""


@dataclass(frozen=True)
class Scope:
    """What merging the methods of one class needs to know.

    `exact` is for the shards of transformers: they are expanded as the files beside them were, oversights included.
    One of these is memory: what a child assigns or deletes after a `super()` call stays in force for the methods that
    follow. Other shards mean what Python says: what a base offers and replaces, and what subclasses in the same shard
    define, is for them.
    """

    report: Report
    exact: bool
    bases: tuple[str, ...] = ()
    parent_methods: frozenset[str] = frozenset()
    remembered: list[cst.BaseStatement] | None = None
    inherited: Callable[[], Offer] = Offer
    offered: Callable[[str], Offer] = lambda name: Offer()
    replaces: Callable[[str, str], bool] = lambda name, base: False
    below: frozenset[str] = frozenset()


def unroll(
    before: list[cst.BaseStatement],
    call: cst.BaseStatement,
    after: list[cst.BaseStatement],
    inlined: list[cst.BaseStatement],
    scope: Scope,
) -> list[cst.BaseStatement]:
    """Put the parent's statements in the place of the call, and merge the child's later statements into them.

    The parent's own `super().__init__(...)` goes to the top when it comes first there, as torch wants it before
    anything is assigned.
    """
    first = inlined[:1] if inlined and super_method(inlined[0]) == "__init__" else []
    earlier = list(scope.remembered or ())
    if scope.remembered is not None:
        scope.remembered.extend(after)
    inlined = _delete_targets(inlined[len(first) :], earlier)
    _check_deletions(inlined, after, scope)
    inlined = _delete_targets(inlined, after)
    after = [each for each in after if not isinstance(small(each), cst.Del)]
    merged = merge_statements(inlined, earlier, after)
    if not [*first, *before, *merged]:
        merged = [cst.SimpleStatementLine([cst.Pass()])]
    return post_init_last([*first, *before, *merged])


def merge_statements(
    inlined: list[cst.BaseStatement], earlier: Sequence[cst.BaseStatement], after: Sequence[cst.BaseStatement]
) -> list[cst.BaseStatement]:
    """The parent's statements with the child's assignments in place, then what is left of the child's."""
    overrides = {target: each for each in [*earlier, *after] if (target := assigned_target(each)) is not None}
    merged = [overrides.get(assigned_target(each) or "", each) for each in inlined]
    present = {without_comments(each) for each in merged}
    return merged + [each for each in after if without_comments(each) not in present]


def _delete_targets(
    inlined: Iterable[cst.BaseStatement], after: Iterable[cst.BaseStatement]
) -> list[cst.BaseStatement]:
    """Drop the parent's assignments to what the child deletes."""
    deleted = {name for _, name in deletions(after)}
    return [each for each in inlined if assigned_target(each) not in deleted]


def _check_deletions(inlined: Iterable[cst.BaseStatement], after: Iterable[cst.BaseStatement], scope: Scope) -> None:
    assigned = {assigned_target(each) or "" for each in inlined}
    for target, name in deletions(after):
        if name not in assigned:
            hint = nearest(name, assigned)
            message = f"`del {name}` deletes nothing: the parent's method never assigns it{hint}"
            scope.report(target, message, warning=True)
