"""Calls on `super()` that stay calls, outside transformers.

The parent is flattened away, so that `super().method()` would reach what stands above it. What the child overrides and calls
all the same stays in the class, under a name of its own: `self._zz_layer_forward(x)`.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import libcst as cst
from libcst import matchers as m

from ..syntax.parameters import CATCH_ALL, parameter_list
from ..syntax.scopes import own_walk
from ..syntax.statements import Body
from ..syntax.tree import Edits, descend, rewrite, walk
from .unroll import Report


_SUPER = m.Call(func=m.Name("super"))
_ON_SUPER = m.Attribute(value=_SUPER)
_IMPLICIT = ("__new__", "__init_subclass__", "__class_getitem__")  # no plain methods, though they look like it
_UNCOPIED = m.Decorator(decorator=m.Name("auto_docstring") | m.Call(func=m.Name("auto_docstring")))
_NO_SPACE = cst.SimpleWhitespace("")


@dataclass
class SuperCalls:
    """The parent's methods of one class, and which of them are kept beside those that override them."""

    child: str
    parent: str
    methods: Mapping[str, cst.FunctionDef]
    overridden: frozenset[str]
    taken: frozenset[str]
    bound: frozenset[str]
    names: dict[str, str] = field(default_factory=dict)

    def name(self, method: str) -> str:
        """How a method of the parent is called in the merged class."""
        if method not in self.overridden:
            return method
        words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", self.parent).lower()
        new = f"_{words}_{method.strip('_')}"
        while new in self.taken:
            new += "_"
        return self.names.setdefault(method, new)

    def copies(self) -> dict[str, cst.FunctionDef]:
        """The kept methods, by the method that overrides each."""
        return {method: self._copy(method, new) for method, new in self.names.items()}

    def _copy(self, method: str, new: str) -> cst.FunctionDef:
        found = self.methods[method]
        decorators = [each for each in found.decorators if not m.matches(each, _UNCOPIED)]
        lines = [cst.EmptyLine(indent=False)]
        return found.with_changes(name=cst.Name(new), decorators=decorators, leading_lines=lines)


def with_own_calls(body: Body, function: cst.FunctionDef, super_calls: SuperCalls, report: Report) -> Body:
    """The statements of a child's method with calls on the parent's methods in the place of those on `super()`."""
    first = _first(function)
    problems = list(_problems(body, first, super_calls))
    for node, message in problems:
        report(node, message)
    return body if problems or not first else [rewrite(each, _edits(function, first, super_calls)) for each in body]


def _first(function: cst.FunctionDef) -> str:
    names = [*function.params.posonly_params, *function.params.params]
    static = any(m.matches(each.decorator, m.Name("staticmethod")) for each in function.decorators)
    return names[0].name.value if names and not static else ""


def _problems(body: Body, first: str, super_calls: SuperCalls) -> Iterator[tuple[cst.CSTNode, str]]:
    """What cannot be said without the parent."""
    found = [each for statement in body for each in walk(statement)]
    uses = [each for each in found if isinstance(each, cst.Attribute) and m.matches(each, _ON_SUPER)]
    own = {id(each) for each in own_walk(body)} - {each for node in found for each in _inside(node)}
    for use in uses:
        if use.attr.value in super_calls.methods:
            yield from _use_problems(use, id(use) in own, first, super_calls)
        elif use.attr.value in super_calls.bound:
            message = f"`super().{use.attr.value}` is no plain method of the parent, which is flattened away: write out what it is"
            yield use, message
    fine = {id(each.value) for each in uses}
    for call in (each for each in found if isinstance(each, cst.Call) and m.matches(each, _SUPER)):
        if id(call) not in fine:
            yield (
                call,
                "`super()` is flattened away: call its methods where they are needed, as in `super().method(...)`",
            )
        elif call.args and not _is_own(call, first, super_calls):
            yield (
                call,
                "`super(...)` with arguments of its own is not known here: write `super()`, or write out what it does",
            )


def _inside(node: cst.CSTNode) -> set[int]:
    """What a comprehension evaluates in a function of its own, to which Python 3.11 gives no `super()`: all but the first of
    what it goes over."""
    if not isinstance(node, cst.ListComp | cst.SetComp | cst.DictComp | cst.GeneratorExp):
        return set()
    return {id(each) for each in walk(node)} - {id(each) for each in walk(node.for_in.iter)}


def _use_problems(
    node: cst.Attribute, own: bool, first: str, super_calls: SuperCalls
) -> Iterator[tuple[cst.CSTNode, str]]:
    name = node.attr.value
    if not own or not first:
        yield (
            node,
            f"`super().{name}` in an inner or static function or a comprehension is not known here: call it in the method itself",
        )
    elif name in _IMPLICIT:
        yield node, f"`super().{name}` would not reach the parent, which is flattened away: write out what it does"
    elif any(
        m.matches(each.decorator, m.Name("cached_property") | m.Attribute())
        for each in super_calls.methods[name].decorators
    ) and (name in super_calls.overridden):
        yield node, f"`super().{name}` cannot be kept beside its override for its decorators: write out what it does"


def _is_own(call: cst.Call, first: str, super_calls: SuperCalls) -> bool:
    values = [each.value for each in call.args]
    return len(values) == 2 and m.matches(values[0], m.Name(super_calls.child)) and m.matches(values[1], m.Name(first))


def _edits(function: cst.FunctionDef, first: str, super_calls: SuperCalls) -> Edits:
    def attribute(node: cst.Attribute) -> cst.Attribute:
        node = descend(node, edits)
        if not m.matches(node, _ON_SUPER) or node.attr.value not in super_calls.methods:
            return node
        return cst.Attribute(
            cst.Name(first), cst.Name(super_calls.name(node.attr.value)), lpar=node.lpar, rpar=node.rpar
        )

    def call(node: cst.Call) -> cst.Call:
        called = node.func if isinstance(node.func, cst.Attribute) and m.matches(node.func, _ON_SUPER) else None
        parent = super_calls.methods.get(called.attr.value) if called else None
        changed = descend(node, edits)
        return changed.with_changes(args=_passed_on(changed, parent, function)) if parent else changed

    edits: Edits = {cst.Attribute: attribute, cst.Call: call, cst.ClassDef: lambda node: node}
    return edits


def _passed_on(call: cst.Call, parent: cst.FunctionDef, child: cst.FunctionDef) -> list[cst.Arg]:
    """The arguments with every parameter that `**super_kwargs` stands for, by name."""
    own = {name for name, _ in parameter_list(child.params)}
    if CATCH_ALL not in own or not any(
        arg.star == "**" and m.matches(arg.value, m.Name("super_kwargs")) for arg in call.args
    ):
        return list(call.args)
    rest = [arg for arg in call.args if not (arg.star == "**" and m.matches(arg.value, m.Name("super_kwargs")))]
    positional = sum(not arg.keyword for arg in rest)
    given = {arg.keyword.value for arg in rest if arg.keyword}
    named = [*parent.params.params[1 + positional :], *parent.params.kwonly_params]
    names = [each.name.value for each in named if each.name.value not in own | given]
    passed = [cst.Arg(cst.Name(name), cst.Name(name), equal=cst.AssignEqual(_NO_SPACE, _NO_SPACE)) for name in names]
    if parent.params.star_kwarg:
        passed.append(cst.Arg(cst.Name(parent.params.star_kwarg.name.value), star="**"))
    return [*(arg.with_changes(comma=cst.MaybeSentinel.DEFAULT) for arg in rest), *passed]
