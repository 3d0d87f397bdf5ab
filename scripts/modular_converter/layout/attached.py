"""What goes along with a class, and what is left of its parent, when a shard outside transformers is laid out."""

from collections.abc import Sequence

import libcst as cst

from ..shards.shard import Shard
from ..sources.pieces import Line
from ..syntax.scopes import names_of_class_body
from ..syntax.tree import block, small, walk


def decorators_of(node: Line) -> Sequence[cst.Decorator]:
    """The decorators of a statement, none of what has none."""
    return getattr(node, "decorators", ())


def attached_to(node: Line) -> cst.Attribute | None:
    """`Class.attribute` of an assignment to it."""
    match small(node):
        case cst.Assign(targets=[cst.AssignTarget(target=cst.Attribute(value=cst.Name()) as target)]):
            return target
    return None


def renamed_owner(node: Line, name: str) -> Line:
    """The same assignment to an attribute of another class."""
    target = attached_to(node)
    assert target is not None and isinstance(target.value, cst.Name)
    assigned = target.with_changes(value=target.value.with_changes(value=name))
    return node.with_changes(body=[small(node).with_changes(targets=[cst.AssignTarget(assigned)])])


def defined_below(shard: Shard, name: str) -> frozenset[str]:
    """The names that subclasses of a class in the same shard define."""
    below = [each for each, bases in shard.bases.items() if name in bases]
    nodes = [shard.entries[each].statement.node for each in below]
    own = [names_of_class_body(block(node.body).body).bound for node in nodes if isinstance(node, cst.ClassDef)]
    return frozenset().union(*own, *(defined_below(shard, each) for each in below if each != name))


def names_left(original: cst.ClassDef, merged: cst.ClassDef) -> set[str]:
    """The names that stand in what a merged class has from its parent."""
    theirs = {id(each): each.value for each in walk(original) if isinstance(each, cst.Name)}
    return {theirs[id(each)] for each in walk(merged) if id(each) in theirs}
