"""Merging one method of a child class with the parent's method of the same name (R16)."""

from collections.abc import Iterable

import libcst as cst

from ..syntax.decorators import merged_decorators
from ..syntax.docstrings import docstrings, statements
from ..syntax.parameters import merged_parameters
from ..syntax.statements import Body, super_position
from ..syntax.tree import block
from .base_calls import rewrite_base_calls
from .method_checks import warn_of_arguments
from .unroll import Scope, unroll


def merge_method(child: cst.FunctionDef, parent: cst.FunctionDef, scope: Scope) -> cst.FunctionDef:
    """The parent's method with the child's parameters, body, decorators and return annotation where it has them."""
    return parent.with_changes(
        decorators=merged_decorators(child.decorators, parent.decorators),
        type_parameters=child.type_parameters or parent.type_parameters,
        whitespace_before_params=child.whitespace_before_params,
        params=merge_parameters(child, parent, scope),
        returns=child.returns or parent.returns,
        body=block(child.body).with_changes(body=_merged_body(child, parent, scope)),
    )


def merge_parameters(child: cst.FunctionDef, parent: cst.FunctionDef, scope: Scope) -> cst.Parameters:
    """The parameters of the merged method; where they are no signature, the child's, with that problem."""
    try:
        return merged_parameters(child.params, parent.params)
    except cst.CSTValidationError as error:
        scope.report(child, f"with the parent's parameters this is no signature: {error} Write out all parameters")
        return child.params


def new_method(child: cst.FunctionDef, scope: Scope) -> cst.FunctionDef:
    """A method that the parent lacks: only explicit base calls are rewritten."""
    return child.with_changes(
        decorators=merged_decorators(child.decorators, ()),
        body=block(child.body).with_changes(body=_on_super(body_of(child), scope)),
    )


def body_of(function: cst.FunctionDef) -> Body:
    """The statements of a function."""
    return list(block(function.body).body)


def _merged_body(child: cst.FunctionDef, parent: cst.FunctionDef, scope: Scope) -> Body:
    docstring = docstrings(body_of(child)) or docstrings(body_of(parent))
    mine, theirs = statements(body_of(child)), statements(body_of(parent))
    position = super_position(mine, child.name.value)
    if position is None:
        return [*docstring, *_on_super(mine, scope)]
    before, call, after = mine[:position], mine[position], mine[position + 1 :]
    warn_of_arguments(call, parent, scope)
    return [*docstring, *unroll(_on_super(before, scope), call, after, theirs, scope)]


def _on_super(body: Iterable[cst.BaseStatement], scope: Scope) -> Body:
    return [rewrite_base_calls(each, scope.bases) for each in body]
