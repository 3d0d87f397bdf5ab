"""What a statement of a method says to the merge: a call on `super()`, an assignment, a deletion, the last call."""

from collections.abc import Iterable, Iterator, Sequence

import libcst as cst
from libcst import matchers as m

from .tree import code, small, without_comments


Body = list[cst.BaseStatement]
_SUPER_METHOD = m.Call(func=m.Attribute(value=m.Call(func=m.Name("super"), args=[])))


def super_position(statements: Sequence[cst.BaseStatement], method: str) -> int | None:
    """Index of the first statement that is exactly `super().method(...)`, returned or not."""
    return next((index for index, each in enumerate(statements) if super_method(each) == method), None)


def super_call(statement: cst.BaseStatement) -> cst.Call | None:
    """The call on `super()`, if that is all a statement does."""
    node = small(statement)
    if isinstance(node, cst.Expr | cst.Return) and node.value and m.matches(node.value, _SUPER_METHOD):
        assert isinstance(node.value, cst.Call)
        return node.value
    return None


def super_method(statement: cst.BaseStatement) -> str | None:
    """The method that a statement calls on `super()`, if that call is all it does."""
    call = super_call(statement)
    return call.func.attr.value if call else None  # type: ignore[attr-defined]  # as the matcher says


def assigned_target(statement: cst.BaseStatement) -> str | None:
    """The text of the (first) target of an assignment."""
    match small(statement):
        case cst.Assign(targets=[cst.AssignTarget(target=target), *_]) | cst.AnnAssign(target=target):
            return code(target)
    return None


def deletions(after: Iterable[cst.BaseStatement]) -> Iterator[tuple[cst.CSTNode, str]]:
    """What `del` statements name, and its text."""
    for each in after:
        node = small(each)
        if isinstance(node, cst.Del):
            several = isinstance(node.target, cst.Tuple) and not node.target.lpar
            targets = [each.value for each in node.target.elements] if several else [node.target]  # type: ignore[attr-defined]
            yield from ((target, code(target)) for target in targets)


def post_init_last(statements: Body) -> Body:
    """The statements with the call to `self.post_init()` at their end."""
    calls = [each for each in statements if without_comments(each) == "self.post_init()"]
    if not calls or statements[-1] in calls:
        return statements
    return [*(each for each in statements if each not in calls), calls[0]]
