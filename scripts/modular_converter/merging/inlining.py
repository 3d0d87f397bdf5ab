"""When the parent's body may take the place of a call on `super()` without a change of meaning.

A shard outside transformers means what it means as a Python module. Where inlining is not proven to mean the same, the
parent's method stays a method of its own (`super_calls.py`).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import libcst as cst
from libcst import matchers as m

from ..syntax.arguments import Binding, bind, is_literal
from ..syntax.decorators import inherited_decorator
from ..syntax.docstrings import python_statements
from ..syntax.scopes import Names, names_of_body, names_of_expression, own_walk
from ..syntax.statements import Body, super_call
from ..syntax.tree import block, code, small


_IDEMPOTENT = frozenset({"torch.no_grad()", "torch.inference_mode()", "classmethod"})


@dataclass(frozen=True)
class Inlining:
    """A call on `super()` in the child's method, and what stands for it: assignments to parameters, then the body."""

    before: Body
    call: cst.BaseStatement
    after: Body
    bindings: Body
    inlined: Body


def one_a_line(body: Iterable[cst.BaseStatement]) -> Body:
    """The statements with one of them on a line."""
    found: Body = []
    for each in body:
        if isinstance(each, cst.SimpleStatementLine) and len(each.body) > 1:
            alone = [part.with_changes(semicolon=cst.MaybeSentinel.DEFAULT) for part in each.body]
            found += [cst.SimpleStatementLine([part]) for part in alone[:-1]]
            found[-len(alone) + 1] = found[-len(alone) + 1].with_changes(leading_lines=each.leading_lines)
            found.append(each.with_changes(body=[each.body[-1]], leading_lines=()))
        else:
            found.append(each)
    return found


def inline(child: cst.FunctionDef, position: int, body: Body, parent: cst.FunctionDef) -> Inlining | None:
    """The call at `position` of the child's statements with the parent's in its place; None where that is not proven."""
    before, statement, after = body[:position], body[position], body[position + 1 :]
    call = super_call(statement)
    assert call
    inlined = python_statements(one_a_line(block(parent.body).body))
    binding = bind(call, parent.params, child.params)
    if binding.problem or not (_same_kind(child, parent) and _returns_alike(statement, after, inlined)):
        return None
    theirs = names_of_body(inlined)
    _drop_unused(binding, theirs)
    if not (_binds_in_order(binding) and _names_apart(child, before, after, parent, binding, theirs)):
        return None
    bindings = [_assignment(name, value) for name, value in binding.given.items() if name not in binding.same]
    return Inlining(before, statement, after, bindings, inlined)


def _same_kind(child: cst.FunctionDef, parent: cst.FunctionDef) -> bool:
    """Whether both are called alike, and nothing but what every method of theirs has stands around the parent's."""
    mine = {code(each.decorator) for each in child.decorators}
    theirs = {code(each.decorator) for each in parent.decorators if not inherited_decorator(each)}
    own = own_walk(block(parent.body).body)
    waits = any(isinstance(each, cst.Yield | cst.Await) for each in own) or parent.asynchronous
    firsts = [_first_parameter(each) for each in (child, parent)]
    return (
        not waits
        and theirs <= mine & _IDEMPOTENT
        and ("classmethod" in mine) == ("classmethod" in theirs)
        and firsts[0] is not None
        and firsts[0] == firsts[1]
    )


def _first_parameter(function: cst.FunctionDef) -> str | None:
    names = [*function.params.posonly_params, *function.params.params]
    return names[0].name.value if names else None


def _returns_alike(statement: cst.BaseStatement, after: Body, inlined: Body) -> bool:
    """Whether the parent's `return` leaves the child's method as it left the parent's."""
    if isinstance(small(statement), cst.Return):
        return not after
    returns = [each for each in own_walk(inlined) if isinstance(each, cst.Return)]
    return not any(each.value for each in returns) and not (returns and after)


def _drop_unused(binding: Binding, theirs: Names) -> None:
    """What the parent's body does not mention needs no assignment, unless giving its value might do something."""
    for name, value in list(binding.given.items()):
        if name not in theirs.all and (
            isinstance(value, cst.Name) or is_literal(value) or not code(value).strip("(){}")
        ):
            del binding.given[name]
            binding.same.discard(name)


def _binds_in_order(binding: Binding) -> bool:
    """Whether the assignments can stand one after another: none reads what an earlier one has changed."""
    changed: set[str] = set()
    for name, value in binding.given.items():
        if name not in binding.same:
            names = names_of_expression(value)
            if names.opaque or names.bound or not changed.isdisjoint(names.read):
                return False
            changed.add(name)
    return True


def _names_apart(
    child: cst.FunctionDef, before: Body, after: Body, parent: cst.FunctionDef, binding: Binding, theirs: Names
) -> bool:
    """Whether each name means the same in one function as it did in two."""
    first, last = names_of_body(before), names_of_body(after)
    arguments = [names_of_expression(value).read for name, value in binding.given.items() if name not in binding.same]
    if first.opaque or last.opaque or theirs.opaque:
        return False
    parameters = {each.name.value for each in _parameters(parent.params)}
    my_names = {each.name.value for each in _parameters(child.params)} | first.bound | last.bound
    my_names |= parameters if any(each.name.value == "super_kwargs" for each in _parameters(child.params)) else set()
    their_names = theirs.bound | (binding.given.keys() - binding.same) | _unpacked(parent, binding)
    seen_later = _reads_first(after, their_names) | (first.captured & their_names)
    hidden = (theirs.read - theirs.bound - parameters) & my_names
    read_before = first.read.union(*arguments) & (their_names - my_names)
    captured = theirs.captured & last.bound
    unbound = binding.same - my_names
    return not (seen_later or hidden or read_before or captured or unbound)


def _unpacked(parent: cst.FunctionDef, binding: Binding) -> set[str]:
    """The dictionary that `**` makes anew for each call."""
    return {parent.params.star_kwarg.name.value} & set(binding.given) if parent.params.star_kwarg else set()


def _parameters(parameters: cst.Parameters) -> list[cst.Param]:
    starred = [each for each in (parameters.star_arg, parameters.star_kwarg) if isinstance(each, cst.Param)]
    return [*parameters.posonly_params, *parameters.params, *parameters.kwonly_params, *starred]


def _reads_first(statements: Sequence[cst.BaseStatement], names: Iterable[str]) -> set[str]:
    """The names that statements read before they give them a value of their own."""
    found = set()
    for name in names:
        for each in statements:
            there = names_of_body([each])
            if name in there.read:
                found.add(name)
                break
            if m.matches(small(each), m.Assign(targets=[m.AssignTarget(target=m.Name(name))])):
                break
    return found


def _assignment(name: str, value: cst.BaseExpression) -> cst.BaseStatement:
    return cst.SimpleStatementLine([cst.Assign([cst.AssignTarget(cst.Name(name))], value)])
