"""What the merge of two methods would lose, told at the place in the shard instead."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from difflib import get_close_matches

import libcst as cst
from libcst import matchers as m

from .diagnostics import nearest
from .parameters import parameter_list
from .tree import code, small, walk
from .unroll import Scope, assigned_target, merge_statements, super_call


_ON_SUPER = m.Call(func=m.Attribute(value=m.Call(func=m.Name("super"))))


def check_unrolled(
    call: cst.BaseStatement,
    after: Sequence[cst.BaseStatement],
    pasted: Sequence[cst.BaseStatement],
    parent: cst.FunctionDef,
    scope: Scope,
) -> None:
    """Report where pasting the parent's body in the place of `call` would not mean what the child says."""
    _check_arguments(call, parent, scope)
    if scope.exact:
        return
    after = [each for each in after if not isinstance(small(each), cst.Del)]
    _check_targets(after, pasted, scope)
    merged = merge_statements(list(pasted), (), after)
    _check_order(after, merged, scope)
    _check_reachable(after, merged, scope)


def check_other_super_calls(statements: Iterable[cst.BaseStatement], scope: Scope) -> None:
    """Report calls on `super()` that stay calls, of methods that the flattened parent no longer offers, or never did."""
    for each in statements:
        for node in walk(each):
            name = _called_on_super(node)
            if name in scope.parent_methods:
                message = (
                    f"`super().{name}(...)` stays a call here, but the parent is flattened away and the call would reach "
                    f"{' or '.join(scope.bases) or 'object'}: make it a statement of its own in {name}, or write out "
                    "what it does"
                )
                scope.report(node, message)
            elif name and (message := _unknown_method(name, scope)):
                scope.report(node, message)


def _unknown_method(name: str, scope: Scope) -> str:
    """What is wrong with calling a method that no base defines. Where some base is not known, only what looks like a
    method of the parent misspelt is refused."""
    offer = scope.inherited()
    known = offer.names | scope.parent_methods if offer.complete else scope.parent_methods
    close = [each for each in get_close_matches(name, known, n=1, cutoff=0.8) if each.strip("_") != name.strip("_")]
    if name in offer.names or not (offer.complete or close):
        return ""
    return f"`super().{name}(...)` calls what neither the parent nor its bases define{nearest(name, known)}"


def _called_on_super(node: cst.CSTNode) -> str | None:
    if isinstance(node, cst.Call) and m.matches(node, _ON_SUPER):
        assert isinstance(node.func, cst.Attribute)
        return node.func.attr.value
    return None


def _check_arguments(call: cst.BaseStatement, parent: cst.FunctionDef, scope: Scope) -> None:
    """The parent's body is pasted with its own parameter names, so arguments must have these names.

    In transformers' own shards others are ignored, which is worth a warning.
    """
    for name, value in _bindings(call, parent):
        if not (isinstance(value, cst.Name) and value.value == name):
            text = code(value)
            message = (
                f"the argument `{text}` {'is' if scope.exact else 'would be'} ignored: the parent's body is pasted with its own name `{name}`; "
                f"write `{name} = {text}` before the call"
            )
            scope.report(value, message, warning=scope.exact)


def _bindings(statement: cst.BaseStatement, parent: cst.FunctionDef) -> Iterator[tuple[str, cst.BaseExpression]]:
    """The parent's parameters, each with the argument that the call gives for it."""
    call = super_call(statement)
    assert call
    named = [name for name, _ in parameter_list(parent.params) if name.isidentifier() and name not in ("self", "cls")]
    positional = [arg.value for arg in call.args if not (arg.star or arg.keyword)]
    yield from zip(named, positional, strict=False)
    yield from ((arg.keyword.value, arg.value) for arg in call.args if arg.keyword)


def _check_targets(after: Sequence[cst.BaseStatement], pasted: Iterable[cst.BaseStatement], scope: Scope) -> None:
    """An assignment that replaces the parent's must be the only one on both sides."""
    theirs = Counter(assigned_target(each) for each in pasted)
    mine = Counter(assigned_target(each) for each in after)
    for each in after:
        target = assigned_target(each)
        if target and (theirs[target] > 1 or (theirs[target] and mine[target] > 1)):
            who = "the parent" if theirs[target] > 1 else "this method"
            message = (
                f"{who} assigns `{target}` more than once: which one this replaces is unclear, write out the method"
            )
            scope.report(each, message)


def _check_order(after: Sequence[cst.BaseStatement], merged: Sequence[cst.BaseStatement], scope: Scope) -> None:
    """A statement moved up to the parent's place must not use what the child assigns further down."""
    places = {id(each): index for index, each in enumerate(merged)}
    for index, each in enumerate(after):
        for earlier in after[:index]:
            target = assigned_target(earlier)
            moved_ahead = places.get(id(each), 0) < places.get(id(earlier), 0)
            if target and moved_ahead and target in _reads(each):
                message = f"this takes the place of the parent's assignment, where `{target}` has no value yet: assign `{target}` before the super() call"
                scope.report(each, message)


def _reads(statement: cst.BaseStatement) -> set[str]:
    """The names and attributes that a statement reads; what it assigns is not among them."""
    node = small(statement)
    assigned = assigned_target(statement)
    found = [code(each) for each in walk(node) if isinstance(each, cst.Name | cst.Attribute)]
    if assigned in found:
        found.remove(assigned)
    return set(found)


def _check_reachable(after: Sequence[cst.BaseStatement], merged: Sequence[cst.BaseStatement], scope: Scope) -> None:
    """Statements after the parent's `return` would never run."""
    returned = False
    for each in merged:
        if returned and any(each is mine for mine in after):
            message = "the parent's body returns before this statement: write out the method"
            scope.report(each, message)
        returned = returned or isinstance(small(each), cst.Return)
