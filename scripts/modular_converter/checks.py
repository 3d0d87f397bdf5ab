"""What the merge of two methods would lose, told at the place in the shard instead."""

import ast
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from difflib import get_close_matches

from .blocks import Function, parameter_list
from .diagnostics import nearest
from .source import Chunk
from .unroll import Scope, assigned_target, merge_statements


def check_unrolled(
    call: Chunk, after: Sequence[Chunk], pasted: Sequence[Chunk], parent: Function, scope: Scope
) -> None:
    """Report where pasting the parent's body in the place of `call` would not mean what the child says."""
    _check_arguments(call, parent, scope)
    if scope.exact:
        return
    after = [chunk for chunk in after if not isinstance(chunk.node, ast.Delete)]
    _check_targets(after, pasted, scope)
    merged = merge_statements(list(pasted), (), after)
    _check_order(after, merged, scope)
    _check_reachable(after, merged, scope)


def check_other_super_calls(statements: Iterable[Chunk], scope: Scope) -> None:
    """Report calls on `super()` that stay calls, of methods that the flattened parent no longer offers, or never did."""
    for chunk in statements:
        for node in ast.walk(chunk.node):
            name = _called_on_super(node)
            if name in scope.parent_methods:
                message = (
                    f"`super().{name}(...)` stays a call here, but the parent is flattened away and the call would reach "
                    f"{' or '.join(scope.bases) or 'object'}: make it a statement of its own in {name}, or write out "
                    "what it does"
                )
                scope.report(_line(chunk, node), _column(node), message)
            elif name and (message := _unknown_method(name, scope)):
                scope.report(_line(chunk, node), _column(node), message)


def _unknown_method(name: str, scope: Scope) -> str:
    """What is wrong with calling a method that no base defines. Where some base is not known, only what looks like a
    method of the parent misspelt is refused."""
    offer = scope.inherited()
    known = offer.names | scope.parent_methods if offer.complete else scope.parent_methods
    close = [each for each in get_close_matches(name, known, n=1, cutoff=0.8) if each.strip("_") != name.strip("_")]
    if name in offer.names or not (offer.complete or close):
        return ""
    return f"`super().{name}(...)` calls what neither the parent nor its bases define{nearest(name, known)}"


def _called_on_super(node: ast.AST) -> str | None:
    match node:
        case ast.Call(func=ast.Attribute(value=ast.Call(func=ast.Name(id="super")), attr=name)):
            return name
    return None


def _line(chunk: Chunk, node: ast.AST) -> int:
    return chunk.line + getattr(node, "lineno", 0) - chunk.node.lineno


def _column(node: ast.AST) -> int:
    return int(getattr(node, "col_offset", 0)) + 1


def _check_arguments(call: Chunk, parent: Function, scope: Scope) -> None:
    """The parent's body is pasted with its own parameter names, so arguments must have these names.

    In transformers' own shards others are ignored, which is worth a warning.
    """
    assert isinstance(call.node, ast.Expr | ast.Return) and isinstance(call.node.value, ast.Call)
    for name, value in _bindings(call.node.value, parent):
        if not (isinstance(value, ast.Name) and value.id == name):
            text = ast.unparse(value)
            message = (
                f"the argument `{text}` {'is' if scope.exact else 'would be'} ignored: the parent's body is pasted with its own name `{name}`; "
                f"write `{name} = {text}` before the call"
            )
            scope.report(_line(call, value), _column(value), message, warning=scope.exact)


def _bindings(call: ast.Call, parent: Function) -> Iterator[tuple[str, ast.expr]]:
    names = [name for name, _ in parameter_list(parent) if name.isidentifier() and name not in ("self", "cls")]
    positional = [value for value in call.args if not isinstance(value, ast.Starred)]
    yield from zip(names, positional, strict=False)
    yield from ((keyword.arg, keyword.value) for keyword in call.keywords if keyword.arg)


def _check_targets(after: Sequence[Chunk], pasted: Iterable[Chunk], scope: Scope) -> None:
    """An assignment that replaces the parent's must be the only one on both sides."""
    theirs = Counter(assigned_target(chunk.node) for chunk in pasted)
    mine = Counter(assigned_target(chunk.node) for chunk in after)
    for chunk in after:
        target = assigned_target(chunk.node)
        if target and (theirs[target] > 1 or (theirs[target] and mine[target] > 1)):
            who = "the parent" if theirs[target] > 1 else "this method"
            message = (
                f"{who} assigns `{target}` more than once: which one this replaces is unclear, write out the method"
            )
            scope.report(chunk.line, chunk.node.col_offset + 1, message)


def _check_order(after: Sequence[Chunk], merged: Sequence[Chunk], scope: Scope) -> None:
    """A statement moved up to the parent's place must not use what the child assigns further down."""
    places = {id(chunk): index for index, chunk in enumerate(merged)}
    for index, chunk in enumerate(after):
        for earlier in after[:index]:
            target = assigned_target(earlier.node)
            moved_ahead = places.get(id(chunk), 0) < places.get(id(earlier), 0)
            if target and moved_ahead and target in _reads(chunk.node):
                message = f"this takes the place of the parent's assignment, where `{target}` has no value yet: assign `{target}` before the super() call"
                scope.report(chunk.line, chunk.node.col_offset + 1, message)


def _reads(node: ast.stmt) -> set[str]:
    found = (child for child in ast.walk(node) if isinstance(child, ast.Name | ast.Attribute))
    return {ast.unparse(child) for child in found if isinstance(child.ctx, ast.Load)}


def _check_reachable(after: Sequence[Chunk], merged: Sequence[Chunk], scope: Scope) -> None:
    """Statements after the parent's `return` would never run."""
    returned = False
    for chunk in merged:
        if returned and any(chunk is mine for mine in after):
            message = "the parent's body returns before this statement: write out the method"
            scope.report(chunk.line, chunk.node.col_offset + 1, message)
        returned = returned or isinstance(chunk.node, ast.Return)
