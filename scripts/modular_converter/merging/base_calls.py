"""`Base.method(self, ...)` in a shard: a call on the base that must not be replaced by the parent's body (R19)."""

from collections.abc import Sequence

import libcst as cst
from libcst import matchers as m

from ..syntax.tree import Edits, Node, code, descend, identifiers, rewrite


_ON_A_BASE = m.Call(func=m.Attribute(value=m.Name() | m.Attribute()))
_SELF = m.Arg(value=m.Name("self"), keyword=None, star="")
SUPER = cst.Call(cst.Name("super"))


def rewrite_base_calls(node: Node, bases: Sequence[str]) -> Node:
    """`Base.method(self, ...)` was written to keep a call from being unrolled; it becomes `super().method(...)`."""
    owners = {base.partition(".")[0] for base in (*bases, "nn.Module", "PreTrainedModel")}
    if owners.isdisjoint(identifiers(node)):
        return node

    def on_super(call: cst.Call) -> cst.Call:
        call = descend(call, edits)
        if not (m.matches(call, _ON_A_BASE) and _is_base(code(call.func.value), bases)):  # type: ignore[attr-defined]
            return call
        first = call.args[:1] if call.args and m.matches(call.args[0], _SELF) else ()
        return call.with_changes(func=call.func.with_changes(value=SUPER), args=call.args[len(first) :])

    edits: Edits = {cst.Call: on_super}
    return rewrite(node, edits)


def only_base_calls(node: Node, bases: Sequence[str]) -> Node:
    """The same outside transformers, where it is right: `super()` leads to the only base there is."""
    owners = {*bases, *(["nn.Module"] if tuple(bases) == ("GradientCheckpointingLayer",) else [])}
    if len(bases) != 1 or {owner.partition(".")[0] for owner in owners}.isdisjoint(identifiers(node)):
        return node

    def on_super(call: cst.Call) -> cst.Call:
        call = descend(call, edits)
        if not (m.matches(call, _ON_A_BASE) and code(call.func.value) in owners):  # type: ignore[attr-defined]
            return call
        if not (call.args and m.matches(call.args[0], _SELF)):
            return call
        return call.with_changes(func=call.func.with_changes(value=SUPER), args=call.args[1:])

    edits: Edits = {cst.Call: on_super}
    return rewrite(node, edits)


def _is_base(owner: str, bases: Sequence[str]) -> bool:
    if owner == "nn.Module" and "GradientCheckpointingLayer" in bases:
        return True
    if owner == "PreTrainedModel" and any("PreTrainedModel" in base for base in bases):
        return True
    return owner in bases
