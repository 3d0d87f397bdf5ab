"""Classes of parents that a shard uses beside inheriting: `isinstance(x, ZzNorm)`, `ZzMLP.forward(self, x)`.

They are imported as the shard imports them. In a shard that is executed, what it inherits is an instance of its parent,
and so is what the parent's own code builds; in an output neither is, so the classes that stand for it are tested too.
"""

from collections.abc import Iterator, Mapping

import libcst as cst
from libcst import matchers as m

from ..layout.outputs import Output
from ..shards.shard import Parent, Shard
from ..sources.diagnostics import Diagnostic
from ..sources.source import Statement
from ..syntax.tree import Edits, block, code, descend, identifiers, rewrite, walk


_TEST = m.Call(func=m.Name("isinstance") | m.Name("issubclass"), args=[m.Arg(), m.Arg()])
_ON_SELF = m.Call(func=m.Attribute(value=m.Name()), args=[m.Arg(value=m.Name("self")), m.ZeroOrMore()])


def import_referenced_parents(shard: Shard, outputs: Mapping[str, Output]) -> None:
    """Let tests of a parent's class hold for what stands for it, and refuse calls that an output cannot make."""
    classes = {name: parent for parent in shard.parents for name in parent.classes}
    if shard.home.inside or classes.keys().isdisjoint(
        identifiers(*(s.node for s in shard.source.of_kind("class", "function")))
    ):
        return
    _refuse_calls(shard, classes)
    stand_ins = {name: sorted(_stand_ins(name, parent, shard)) for name, parent in classes.items()}
    homes = {name: output for output in outputs.values() for name in output.body}
    for output in outputs.values():
        for name, nodes in output.body.items():
            output.body[name] = tuple(rewrite(node, _edits(output, stand_ins, homes)) for node in nodes)


def _stand_ins(name: str, parent: Parent, shard: Shard) -> set[str]:
    """The classes that a family has in the place of one of a parent."""
    return {parent.renaming.name(name), *(child for child, bases in shard.bases.items() if name in bases)} - {name}


def _edits(output: Output, stand_ins: Mapping[str, list[str]], homes: Mapping[str, Output]) -> Edits:
    def widened(node: cst.Name) -> cst.BaseExpression:
        found: cst.BaseExpression = node
        for each in stand_ins.get(node.value, ()):
            if each in homes:
                found = cst.BinaryOperation(found, cst.BitOr(), cst.Name(each))
                if homes[each] is not output and each not in output.siblings.setdefault(homes[each].type, []):
                    output.siblings[homes[each].type].append(each)
        return found

    def test(call: cst.Call) -> cst.Call:
        call = descend(call, edits)
        if not m.matches(call, _TEST):
            return call
        first, second = call.args
        return call.with_changes(args=[first, second.with_changes(value=rewrite(second.value, {cst.Name: widened}))])

    edits: Edits = {cst.Call: test}
    return edits


def _refuse_calls(shard: Shard, classes: Mapping[str, Parent]) -> None:
    """`ZzMLP.__init__(self)` runs the parent's method on what is no ZzMLP: where that calls `super()`, Python refuses."""
    for statement in shard.source.of_kind("class"):
        for call in _calls_on_self(statement):
            assert isinstance(call.func, cst.Attribute) and isinstance(call.func.value, cst.Name)
            owner, method = call.func.value.value, call.func.attr.value
            if owner in classes and _uses_super(classes[owner].source.definitions[owner], method):
                message = (
                    f"{owner}.{method} calls `super()`, which needs an instance of {owner}, and {statement.name} is none once "
                    f"it is expanded: write `super().{method}(...)`"
                )
                place = shard.source.position(call)
                shard.problems.append(Diagnostic(shard.path, *place, message))


def _calls_on_self(statement: Statement) -> Iterator[cst.Call]:
    return (each for each in walk(statement.node) if isinstance(each, cst.Call) and m.matches(each, _ON_SELF))


def _uses_super(definition: Statement, method: str) -> bool:
    assert isinstance(definition.node, cst.ClassDef)
    methods = (each for each in block(definition.node.body).body if isinstance(each, cst.FunctionDef))
    found = next((each for each in methods if each.name.value == method), None)
    return found is not None and any(
        code(each).startswith("super()") for each in walk(found) if isinstance(each, cst.Call)
    )
