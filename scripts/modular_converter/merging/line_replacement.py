"""Which of the parent's lines a child's statements after `super()` take the place of, outside transformers.

`self.mlp = NewMLP(config)` after `super().__init__(config)` means the same in the place of the parent's `self.mlp = ...`
as behind it, but that the parent's MLP is not built first. That is the one liberty taken: what a replaced line would have
constructed is not constructed. Where anything else could differ, both lines stay, in Python's order.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import libcst as cst
from libcst import matchers as m

from ..sources.diagnostics import nearest
from ..syntax.scopes import names_of_body
from ..syntax.statements import Body, assigned_target, post_init_last
from ..syntax.tree import code, small, walk, without_comments
from .inlining import Inlining
from .unroll import Report


_PURE_PACKAGES = frozenset({"torch", "nn", "math"})
_PURE = frozenset(
    [
        "abs",
        "bool",
        "dict",
        "enumerate",
        "float",
        "frozenset",
        "getattr",
        "hasattr",
        "int",
        "isinstance",
        "len",
        "list",
        "max",
        "min",
        "range",
        "round",
        "set",
        "sorted",
        "str",
        "sum",
        "tuple",
        "zip",
    ]
)
_POST_INIT = "self.post_init()"


@dataclass(frozen=True)
class Effects:
    """What statements do to the object and to local names: `attributes` are those mentioned, `whole` tells that any may
    be read or set, `writes` are names that are bound or set into, `lent` those that a call may change."""

    attributes: frozenset[str]
    whole: bool
    writes: frozenset[str]
    reads: frozenset[str]
    lent: frozenset[str]


def with_lines_replaced(inlining: Inlining, first: str, bases: Sequence[str], report: Report) -> Body:
    """The child's body with the parent's statements in the place of the call."""
    slots: dict[int, cst.BaseStatement] = dict(enumerate(inlining.inlined))
    rest: Body = []
    for index, each in enumerate(inlining.after):
        earlier = inlining.after[:index]
        if isinstance(small(each), cst.Del):
            rest += _deleted(each, earlier, slots, inlining, first, report)
            continue
        place = _place_of(each, earlier, inlining.inlined, first, report)
        if place is None:
            rest.append(each)
        else:
            slots[place] = each
    lead = _module_init(inlining, first, bases)
    inlined = [each for each in slots.values() if each not in lead]
    return post_init_last([*lead, *inlining.before, *inlining.bindings, *inlined, *rest])


def _module_init(inlining: Inlining, first: str, bases: Sequence[str]) -> Body:
    """`super().__init__()` of a module, which torch's authors write first, where nothing before it is about the object."""
    lead = (
        inlining.inlined[:1] if inlining.before and set(bases) <= {"nn.Module", "GradientCheckpointingLayer"} else []
    )
    called = bool(lead) and without_comments(lead[0]) == "super().__init__()"
    return lead if called and first not in effects([*inlining.before, *inlining.bindings], first).reads else []


def _place_of(statement: cst.BaseStatement, earlier: Body, inlined: Body, first: str, report: Report) -> int | None:
    """Where the only line of the parent stands that a statement can take the place of."""
    target = assigned_target(statement)
    place = _only_line(target, inlined, first)
    if place is None or target is None or not _is_plain(statement):
        return None
    mine = effects(_values(statement), first)
    later = [each for each in inlined[place + 1 :] if without_comments(each) != _POST_INIT]
    between = effects([*later, *earlier], first)
    name = target.removeprefix(f"{first}.")
    if _depends(mine, between, first) or name in mine.attributes | effects(earlier, first).attributes:
        return None
    if name in effects(later, first).attributes:
        message = (
            f"the parent's method reads `{target}` before this line, and keeps what it read: both lines stand in the expansion, as "
            "in Python. Where the parent is to read this one, assign what it takes it from before the super() call"
        )
        report(small(statement), message, True)
        return None
    return None if between.whole else place


def _only_line(target: str | None, inlined: Body, first: str) -> int | None:
    """The place of the parent's only assignment to an attribute, if nothing is lost when it goes."""
    places = [index for index, each in enumerate(inlined) if target is not None and assigned_target(each) == target]
    if target is None or not m.matches(cst.parse_expression(target), m.Attribute(value=m.Name(first))):
        return None
    return places[0] if len(places) == 1 and _is_plain(inlined[places[0]]) else None


def _is_plain(statement: cst.BaseStatement) -> bool:
    """Whether a statement assigns to one target and does nothing else but, perhaps, construct something."""
    node = small(statement)
    single = isinstance(node, cst.AnnAssign) or (isinstance(node, cst.Assign) and len(node.targets) == 1)
    return single and bool(_values(statement)) and not any(map(_may_do_more, _nodes(_values(statement))))


def _values(statement: cst.BaseStatement) -> list[cst.CSTNode]:
    value = getattr(small(statement), "value", None)
    return [value] if isinstance(value, cst.CSTNode) else []


def _nodes(nodes: Iterable[cst.CSTNode]) -> Iterator[cst.CSTNode]:
    return (each for node in nodes for each in walk(node))


def _may_do_more(node: cst.CSTNode) -> bool:
    """Whether evaluating a node may do something besides giving a value: calls do, but for classes and known functions."""
    if isinstance(node, cst.Call):
        name = code(node.func)
        last = name.rpartition(".")[2].lstrip("_")
        return not (last[:1].isupper() or name in _PURE or name.partition(".")[0] in _PURE_PACKAGES)
    return isinstance(node, cst.Await | cst.Yield | cst.NamedExpr)


def effects(nodes: Sequence[cst.CSTNode], first: str) -> Effects:
    """What statements or expressions read and change."""
    own = m.Attribute(value=m.Name(first))
    found = list(_nodes(nodes))
    attributes = [each.attr.value for each in found if isinstance(each, cst.Attribute) and m.matches(each, own)]
    names = [each.value for each in found if isinstance(each, cst.Name)]
    calls = [each for each in found if isinstance(each, cst.Call)]
    methods = any(m.matches(each.func, own) for each in calls) or "super" in names
    statements = [each for each in nodes if isinstance(each, cst.BaseStatement)]
    lent = (each.value for call in filter(_may_do_more, calls) for each in walk(call) if isinstance(each, cst.Name))
    return Effects(
        frozenset(attributes),
        methods or names.count(first) > len(attributes),
        names_of_body(statements).bound | frozenset(_set_into(found)),
        frozenset(names),
        frozenset(lent),
    )


def _set_into(nodes: Iterable[cst.CSTNode]) -> Iterator[str]:
    """The names of objects whose attributes or items are assigned."""
    for each in nodes:
        if isinstance(each, cst.AssignTarget | cst.AugAssign | cst.AnnAssign | cst.Del):
            target: cst.BaseExpression = each.target
            while isinstance(target, cst.Attribute | cst.Subscript):
                target = target.value
            if isinstance(target, cst.Name):
                yield target.value


def _depends(mine: Effects, between: Effects, first: str) -> bool:
    """Whether an expression could have another value before some statements than after them."""
    names = mine.reads & (between.writes | between.lent) - {first, *_PURE_PACKAGES}
    attributes = mine.attributes & between.attributes or (between.whole and mine.attributes)
    return mine.whole or bool(names) or bool(attributes)


def _deleted(
    statement: cst.BaseStatement,
    earlier: Body,
    slots: dict[int, cst.BaseStatement],
    inlining: Inlining,
    first: str,
    report: Report,
) -> Iterator[cst.BaseStatement]:
    """What is left of a `del`: nothing of a target that only one line of the parent assigns, which goes instead."""
    for target in _del_targets(statement):
        text = code(target)
        place = _only_line(text, inlining.inlined, first)
        name = text.removeprefix(f"{first}.")
        rest = effects([each for index, each in enumerate(inlining.inlined) if index != place], first)
        if place in slots and name not in rest.attributes | effects(earlier, first).attributes:
            del slots[place]
            continue
        if _is_nowhere(text, inlining, first):
            hint = nearest(text, {assigned_target(each) or "" for each in inlining.inlined})
            report(target, f"`del {text}` deletes nothing: the parent's method never assigns it{hint}")
        yield cst.SimpleStatementLine([cst.Del(target)])  # type: ignore[arg-type]


def _is_nowhere(text: str, inlining: Inlining, first: str) -> bool:
    """Whether a `del` names what neither method assigns anywhere."""
    if ("." in text and not text.startswith(f"{first}.")) or "[" in text:
        return False
    everything = [*inlining.before, *inlining.bindings, *inlining.inlined, *inlining.after]
    assigned = {code(each.target) for each in _nodes(everything) if isinstance(each, cst.AssignTarget | cst.AnnAssign)}
    return text not in assigned and text not in names_of_body([*inlining.before, *inlining.after[:-1]]).bound


def _del_targets(statement: cst.BaseStatement) -> list[cst.BaseExpression]:
    node = small(statement)
    several = isinstance(node.target, cst.Tuple) and not node.target.lpar
    return [each.value for each in node.target.elements] if several else [node.target]
