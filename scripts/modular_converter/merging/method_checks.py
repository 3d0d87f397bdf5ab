"""What the merge of two methods would lose, told at the place in the shard instead."""

from collections.abc import Iterable, Iterator
from difflib import get_close_matches

import libcst as cst
from libcst import matchers as m

from ..sources.diagnostics import nearest
from ..syntax.parameters import parameter_list
from ..syntax.statements import super_call
from ..syntax.tree import code, walk
from .unroll import Scope


_ON_SUPER = m.Call(func=m.Attribute(value=m.Call(func=m.Name("super"))))


def check_unknown_methods(statements: Iterable[cst.BaseStatement], scope: Scope) -> None:
    """Report calls on `super()` of methods that neither the parent nor its bases have."""
    for each in statements:
        for node in walk(each):
            name = _called_on_super(node)
            if name and name not in scope.parent_methods and (message := _unknown_method(name, scope)):
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


def warn_of_arguments(call: cst.BaseStatement, parent: cst.FunctionDef, scope: Scope) -> None:
    """In transformers' own shards the parent's body is pasted with its own parameter names, and other arguments are
    ignored."""
    for name, value in _bindings(call, parent):
        if not (isinstance(value, cst.Name) and value.value == name):
            text = code(value)
            message = (
                f"the argument `{text}` is ignored: the parent's body is pasted with its own name `{name}`; "
                f"write `{name} = {text}` before the call"
            )
            scope.report(value, message, warning=True)


def _bindings(statement: cst.BaseStatement, parent: cst.FunctionDef) -> Iterator[tuple[str, cst.BaseExpression]]:
    """The parent's parameters, each with the argument that the call gives for it."""
    call = super_call(statement)
    assert call
    named = [name for name, _ in parameter_list(parent.params) if name.isidentifier() and name not in ("self", "cls")]
    positional = [arg.value for arg in call.args if not (arg.star or arg.keyword)]
    yield from zip(named, positional, strict=False)
    yield from ((arg.keyword.value, arg.value) for arg in call.args if arg.keyword)
