"""Merging one method of a child class with the parent's method of the same name."""

from dataclasses import replace

from .base_calls import rewrite_base_calls
from .blocks import Decorators, Function, is_docstring, parameter_list
from .checks import check_other_super_calls, check_unrolled
from .scan import split_comment
from .source import Chunk
from .unroll import Scope, super_position, unroll


NO_INHERIT = "no_inherit_decorator"
DEPRECATE = "deprecate_kwarg"
NO_DECORATORS = Decorators((), ())


def merge_method(child: Function, parent: Function, scope: Scope) -> Function:
    """The parent's method with the child's parameters, body, decorators and return annotation where it has them."""
    body = _merged_body(child, parent, scope)
    keep_comment = not scope.exact and "#" in child.lead
    return replace(
        parent,
        lead=child.lead if keep_comment else parent.lead,
        decorators=merged_decorators(child.decorators, parent.decorators),
        parameters=_merged_parameters(child, parent),
        returns=child.returns or parent.returns,
        trailing=child.trailing,
        body=tuple(body),
        footer=child.footer,
        line=child.line,
    )


def new_method(child: Function, scope: Scope) -> Function:
    """A method that the parent lacks: only explicit base calls are rewritten."""
    body = tuple(rewrite_base_calls(chunk, scope.bases) for chunk in child.body)
    if not scope.exact:
        check_other_super_calls(body, scope)
    return replace(child, decorators=merged_decorators(child.decorators, NO_DECORATORS), body=body)


def merged_decorators(child: Decorators, parent: Decorators) -> Decorators:
    """The child's decorators replace the parent's, but for deprecated keywords, which leave the parent's others where they
    are; `@no_inherit_decorator` alone means none at all."""
    if child.names == (NO_INHERIT,):
        return NO_DECORATORS
    if all(map(_deprecates, child.names)):
        kept = parent.only(lambda name: not _deprecates(name)) if child.names else parent
        return kept + child
    return child


def _deprecates(decorator: str) -> bool:
    return decorator.startswith(f"{DEPRECATE}(")


def _merged_body(child: Function, parent: Function, scope: Scope) -> list[Chunk]:
    docstring = _docstrings(child) or _docstrings(parent)
    statements = _statements(child)
    position = super_position(statements, child.name)
    if position is None:
        rest = [rewrite_base_calls(chunk, scope.bases) for chunk in statements]
        _check_rest(rest, scope)
        return [*docstring, *rest]
    before = [rewrite_base_calls(chunk, scope.bases) for chunk in statements[:position]]
    call, after = statements[position], statements[position + 1 :]
    if not scope.exact:
        after = [rewrite_base_calls(chunk, scope.bases) for chunk in after]
    check_unrolled(call, after, _statements(parent), parent, scope)
    _check_rest([*before, *after], scope)
    return [*docstring, *unroll(before, call, after, _statements(parent), scope)]


def _check_rest(statements: list[Chunk], scope: Scope) -> None:
    if not scope.exact:
        check_other_super_calls(statements, scope)


def _docstrings(function: Function) -> list[Chunk]:
    return [chunk for chunk in function.body if is_docstring(chunk)]


def _statements(function: Function) -> list[Chunk]:
    return [chunk for chunk in function.body if not is_docstring(chunk)]


def _merged_parameters(child: Function, parent: Function) -> str:
    """`**super_kwargs` stands for the parent's parameters; otherwise the child's own are taken."""
    mine = parameter_list(child)
    if not any(name == "**super_kwargs" for name, _ in mine):
        return child.parameters
    own = {name: text for name, text in mine if name != "**super_kwargs"}
    theirs = parameter_list(parent)
    merged = {name: own.get(name, text) for name, text in theirs if not name.startswith("**")}
    merged.update({name: text for name, text in own.items() if name not in merged})
    merged.update({name: text for name, text in theirs if name.startswith("**")})
    *front, last = merged.values()
    return "".join([*map(_with_comma, front), last])


def _with_comma(parameter: str) -> str:
    """A parameter that can be followed by another one, its own comment kept behind the comma."""
    code, comment = split_comment(parameter)
    code = code.rstrip().removesuffix(",") + ","
    return f"{code}  {comment}\n" if comment else code
