"""Merging one method of a child class with the parent's method of the same name (R16)."""

from collections.abc import Iterable

import libcst as cst

from .base_calls import rewrite_base_calls
from .checks import check_other_super_calls, check_unrolled
from .decorators import merged_decorators
from .docstrings import docstrings, statements
from .parameters import merged_parameters
from .tree import block, comments
from .unroll import Scope, super_position, unroll


Body = list[cst.BaseStatement]


def merge_method(child: cst.FunctionDef, parent: cst.FunctionDef, scope: Scope) -> cst.FunctionDef:
    """The parent's method with the child's parameters, body, decorators and return annotation where it has them."""
    keep_comment = not scope.exact and comments(child.leading_lines)
    return parent.with_changes(
        leading_lines=child.leading_lines if keep_comment else parent.leading_lines,
        decorators=merged_decorators(child.decorators, parent.decorators),
        type_parameters=child.type_parameters or parent.type_parameters,
        whitespace_before_params=child.whitespace_before_params,
        params=_parameters(child, parent, scope),
        returns=child.returns or parent.returns,
        body=block(child.body).with_changes(body=_merged_body(child, parent, scope)),
    )


def _parameters(child: cst.FunctionDef, parent: cst.FunctionDef, scope: Scope) -> cst.Parameters:
    try:
        return merged_parameters(child.params, parent.params)
    except cst.CSTValidationError as error:
        scope.report(child, f"with the parent's parameters this is no signature: {error} Write out all parameters")
        return child.params


def new_method(child: cst.FunctionDef, scope: Scope) -> cst.FunctionDef:
    """A method that the parent lacks: only explicit base calls are rewritten."""
    body = body_of(child)
    _check_rest(body, scope)
    return child.with_changes(
        decorators=merged_decorators(child.decorators, ()),
        body=block(child.body).with_changes(body=_on_super(body, scope)),
    )


def body_of(function: cst.FunctionDef) -> Body:
    """The statements of a function."""
    return list(block(function.body).body)


def _merged_body(child: cst.FunctionDef, parent: cst.FunctionDef, scope: Scope) -> Body:
    docstring = docstrings(body_of(child)) or docstrings(body_of(parent))
    mine, theirs = statements(body_of(child)), statements(body_of(parent))
    position = super_position(mine, child.name.value)
    if position is None:
        _check_rest(mine, scope)
        return [*docstring, *_on_super(mine, scope)]
    before, call, after = mine[:position], mine[position], mine[position + 1 :]
    check_unrolled(call, after, theirs, parent, scope)
    _check_rest([*before, *after], scope)
    after = after if scope.exact else _on_super(after, scope)
    return [*docstring, *unroll(_on_super(before, scope), call, after, theirs, scope)]


def _on_super(body: Iterable[cst.BaseStatement], scope: Scope) -> Body:
    return [rewrite_base_calls(each, scope.bases) for each in body]


def _check_rest(body: Body, scope: Scope) -> None:
    if not scope.exact:
        check_other_super_calls(body, scope)
