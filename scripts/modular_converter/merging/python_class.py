"""Merging a class with its parent outside transformers, where the merged class means what the two meant to Python."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import libcst as cst
from libcst import matchers as m

from ..sources.diagnostics import nearest
from ..sources.source import LITERAL_STATEMENT
from ..syntax.decorators import half_of_property, method_decorators
from ..syntax.deletions import deletes_attribute, deletes_method
from ..syntax.docstrings import python_docstring, python_statements
from ..syntax.scopes import names_of_class_body
from ..syntax.statements import Body, super_position
from ..syntax.tree import block, comments, small, walk
from .base_calls import only_base_calls
from .inlining import inline, one_a_line
from .line_replacement import with_lines_replaced
from .method_checks import check_unknown_methods
from .methods import merge_parameters
from .super_calls import SuperCalls, with_own_calls
from .unroll import Scope


_FIELDS = m.Decorator(
    decorator=m.Name("dataclass") | m.Name("strict") | m.Call(func=m.Name("dataclass") | m.Name("strict"))
)


@dataclass(frozen=True)
class Item:
    """A statement of a class body: an `attribute`, a `method`, a `class`, or something `other` that may bind several names."""

    kind: str
    name: str
    half: str
    node: cst.BaseStatement
    bound: frozenset[str]
    read: frozenset[str]

    @property
    def key(self) -> tuple[str, str, str]:
        return self.kind, self.name, self.half


def items_of(node: cst.ClassDef) -> list[Item]:
    """The statements of a class that do something."""
    return [_item(each) for each in python_statements(one_a_line(block(node.body).body)) if not _is_idle(small(each))]


def _is_idle(node: cst.CSTNode) -> bool:
    return isinstance(node, cst.Pass) or m.matches(node, LITERAL_STATEMENT)


def _item(statement: cst.BaseStatement) -> Item:
    node = small(statement)
    names = names_of_class_body([statement])
    half = half_of_property(node) if isinstance(node, cst.FunctionDef) else ""
    kind, name = _kind(node)
    read = names.read - {name} if half else names.read
    return Item(kind, name, half, statement, names.bound or frozenset({name} - {""}), read)


def _kind(node: cst.CSTNode) -> tuple[str, str]:
    match node:
        case cst.FunctionDef(name=cst.Name(value=name)):
            return "method", name
        case cst.ClassDef(name=cst.Name(value=name)):
            return "class", name
        case (
            cst.Assign(targets=[cst.AssignTarget(target=cst.Name(value=name))])
            | cst.AnnAssign(target=cst.Name(value=name))
        ):
            return "attribute", name
    return "other", ""


def merge_bodies(child: cst.ClassDef, parent: cst.ClassDef, base: str, scope: Scope) -> list[cst.BaseStatement]:
    """The merged class body."""
    docstring = python_docstring(one_a_line(block(child.body).body)) or python_docstring(
        one_a_line(block(parent.body).body)
    )
    mine, theirs = items_of(child), items_of(parent)
    return [*docstring, *Merge(child, parent, mine, theirs, base, scope).body()]


class Merge:
    """One merge: the parent's statements, of which some are replaced in place or go, and the child's that follow."""

    def __init__(
        self,
        child: cst.ClassDef,
        parent: cst.ClassDef,
        mine: list[Item],
        theirs: list[Item],
        base: str,
        scope: Scope,
    ) -> None:
        self.mine, self.base = mine, base
        self.theirs: list[Item | None] = list(theirs)
        self.fields = any(m.matches(each, _FIELDS) for each in parent.decorators)
        self.parent_reads = frozenset().union(*(each.read for each in theirs))
        self.parent_others = frozenset().union(*(each.bound for each in theirs if each.kind == "other"))
        self.repeated = {key for key, number in Counter(each.key for each in mine).items() if number > 1}
        self.ordered = any(each.kind == "other" for each in mine) or bool(self.repeated) or self._reads_own(mine)
        self.parent_ordered = self._reads_own(theirs) or any(
            number > 1 for number in Counter(each.key for each in theirs).values()
        )
        methods = {each.name: _function(each) for each in theirs if each.kind == "method" and not each.half}
        bound = frozenset().union(*(each.bound for each in mine))
        theirs_bound = frozenset().union(*(each.bound for each in theirs))
        once = {
            name: each
            for name, each in methods.items()
            if [item.name for item in theirs].count(name) == 1 or _is_property(each)
        }
        self.super_calls = SuperCalls(
            child.name.value, base, once, bound | scope.below, bound | theirs_bound, theirs_bound
        )
        self.scope = replace(scope, parent_methods=frozenset(methods))
        self.tail: list[Item] = []

    @staticmethod
    def _reads_own(items: Sequence[Item]) -> bool:
        bound = frozenset().union(*(each.bound for each in items))
        return any(each.read & bound for each in items)

    def body(self) -> list[cst.BaseStatement]:
        for item in self.mine:
            self._check(item)
            if not self._delete(item):
                self._add(item)
        found = [each for each in self.theirs if each is not None]
        items = found if self.parent_ordered else sorted(found, key=_rank)
        if self.ordered or self._is_late(self.tail):
            items += self.tail
        elif self.parent_ordered:
            items += sorted(self.tail, key=_rank)
        else:
            items = sorted([*items, *self.tail], key=_rank)
        return list(self._with_kept(items))

    def _with_kept(self, items: Iterable[Item]) -> Iterator[cst.BaseStatement]:
        """The statements, each method that keeps its parent's behind that one."""
        copies = self.super_calls.copies()
        for item in items:
            if item.kind == "method" and not item.half and item.name in copies:
                yield copies.pop(item.name)
            yield item.node
        yield from copies.values()

    def _is_late(self, tail: Iterable[Item]) -> bool:
        """Whether names that the tail binds are read by what would come to stand behind it."""
        return any(each.bound & (self.parent_reads | self.parent_others) for each in tail)

    def _check(self, item: Item) -> None:
        node = small(item.node)
        if item.kind == "other" and any(m.matches(each, m.Name("super")) for each in walk(item.node)):
            self.scope.report(
                node,
                "`super()` in a method that is not defined on its own is not known here: define it without a condition",
            )
        theirs = [each for each in self.theirs if each is not None]
        bound = frozenset().union(*(each.bound for each in theirs))
        mine = frozenset().union(*(each.bound for each in self.mine))
        if found := sorted(item.read & bound - mine):
            message = f"`{found[0]}` is an attribute of the parent, which a class body does not see in Python: give one of them another name"
            self.scope.report(node, message)
        readers = [each for each in theirs if each.read & item.bound]
        owners = {each.kind for each in theirs if each.bound & item.bound}
        if readers and owners and not (item.kind == "attribute" and owners == {"attribute"}):
            message = (
                f"the parent's class body uses `{min(readers[0].read & item.bound)}` itself, which this would replace: "
                "give it another name"
            )
            self.scope.report(node, message)

    def _delete(self, item: Item) -> bool:
        """Whether a statement takes something of the parent's away; what takes nothing away is told."""
        if not _is_deletion(item):
            return False
        found = [
            index
            for index, each in enumerate(self.theirs)
            if each and item.name in each.bound and each.kind == item.kind
        ]
        known = sorted({name for each in self.theirs if each and each.kind == item.kind for name in each.bound})
        if not found:
            what = f"`raise AttributeError` deletes nothing: the parent has no method {item.name}"
            if item.kind == "attribute":
                what = f"`{item.name} = AttributeError()` deletes nothing: the parent has no such attribute"
            self.scope.report(small(item.node), what + nearest(item.name, known))
        if item.bound & self.parent_reads and any(
            each.read & item.bound for each in self.theirs if each and not each.half
        ):
            self.scope.report(small(item.node), f"`{item.name}` cannot be taken away: the parent's class body uses it")
        for index in found:
            self.theirs[index] = None
        return True

    def _add(self, item: Item) -> None:
        """Put a statement in the place of the parent's, or behind everything."""
        place = next((index for index, each in enumerate(self.theirs) if each and each.key == item.key), None)
        old = None if place is None else self.theirs[place]
        new = replace(item, node=self._merged(item, old))
        keeps = item.kind == "attribute" and bool(item.bound & self.parent_reads)
        in_place = place is not None and not keeps and self._fits_in_place(item)
        for index, each in enumerate(self.theirs):
            if each and not keeps and self._is_replaced(each, item) and not (in_place and index == place):
                self.theirs[index] = None
        if in_place:
            assert place is not None
            self.theirs[place] = new
        else:
            self.tail.append(new)

    def _fits_in_place(self, item: Item) -> bool:
        mine = frozenset().union(*(each.bound for each in self.mine))
        others = frozenset().union(*(each.bound for each in self.mine if each.kind == "other"))
        return not (item.bound & (self.parent_others | others) or item.key in self.repeated or item.read & mine)

    def _is_replaced(self, theirs: Item, item: Item) -> bool:
        """Whether the parent's statement has no effect beside the child's: both bind one name, the child always."""
        if item.kind == "other" or theirs.kind == "other" or theirs.name != item.name or item.name in item.read:
            return False
        if item.kind == "attribute" and _value(item) is None:
            return False
        return not item.half or theirs.half == item.half

    def _merged(self, item: Item, old: Item | None) -> cst.BaseStatement:
        if item.kind == "attribute":
            return self._attribute(item, old)
        if item.kind != "method":
            return item.node
        parent = _function(old) if old else None
        return merge_function(_function(item), parent, self.base, self.super_calls, self.scope)

    def _attribute(self, item: Item, old: Item | None) -> cst.BaseStatement:
        """The child's value under the parent's annotation, or the other way round, where each says one of them."""
        mine, theirs = small(item.node), small(old.node) if old else None
        if not isinstance(theirs, cst.AnnAssign):
            if isinstance(mine, cst.AnnAssign) and mine.value is None and isinstance(theirs, cst.Assign):
                return _line(item.node, mine.with_changes(value=theirs.value, equal=_EQUAL))
            return item.node
        if isinstance(mine, cst.AnnAssign) and mine.value is None and theirs.value is not None:
            return _line(item.node, mine.with_changes(value=theirs.value, equal=_EQUAL))
        if isinstance(mine, cst.Assign):
            if self.fields and not m.matches(theirs.annotation.annotation, m.Subscript(value=m.Name("ClassVar"))):
                message = f"`{item.name}` is a field of the parent: without an annotation this sets no default, write `{item.name}: ... = ...`"
                self.scope.report(mine, message)
            return _line(item.node, theirs.with_changes(value=mine.value, equal=_EQUAL))
        return item.node


_EQUAL = cst.AssignEqual()


def _line(statement: cst.BaseStatement, node: cst.BaseSmallStatement) -> cst.BaseStatement:
    return statement.with_changes(body=[node])


def _value(item: Item) -> cst.BaseExpression | None:
    value = getattr(small(item.node), "value", None)
    return value if isinstance(value, cst.BaseExpression) else None


def _is_property(method: cst.FunctionDef) -> bool:
    return any(m.matches(each.decorator, m.Name("property")) for each in method.decorators)


def _function(item: Item) -> cst.FunctionDef:
    assert isinstance(item.node, cst.FunctionDef)
    return item.node


_RANKS: Mapping[str, int] = {"attribute": 0, "class": 1, "other": 1, "method": 2}


def _rank(item: Item) -> int:
    return _RANKS[item.kind]


def _is_deletion(item: Item) -> bool:
    """Whether an item says that it is not there."""
    if item.kind == "method":
        return deletes_method(_function(item))
    return item.kind == "attribute" and deletes_attribute(item.node)


def merge_function(
    child: cst.FunctionDef, parent: cst.FunctionDef | None, base: str, super_calls: SuperCalls, scope: Scope
) -> cst.FunctionDef:
    """A method of the child, with the parent's of the same name merged into it where there is one."""
    decorators = [each.with_changes(decorator=_own_property(each.decorator, base)) for each in child.decorators]
    if parent is None:
        return child.with_changes(
            decorators=method_decorators(decorators, ()),
            body=block(child.body).with_changes(body=_body(child, None, super_calls, scope)),
        )
    return parent.with_changes(
        leading_lines=child.leading_lines if comments(child.leading_lines) else parent.leading_lines,
        decorators=method_decorators(decorators, parent.decorators),
        asynchronous=child.asynchronous,
        type_parameters=child.type_parameters or parent.type_parameters,
        whitespace_before_params=child.whitespace_before_params,
        params=merge_parameters(child, parent, scope),
        returns=child.returns or parent.returns,
        body=block(child.body).with_changes(body=_body(child, parent, super_calls, scope)),
    )


def _own_property(decorator: cst.BaseExpression, base: str) -> cst.BaseExpression:
    """`@ZzLayer.width.setter` in a class of its own: `@width.setter`."""
    if m.matches(
        decorator, m.Attribute(value=m.Attribute(value=m.Name(base)), attr=m.Name("setter") | m.Name("deleter"))
    ):
        assert isinstance(decorator, cst.Attribute) and isinstance(decorator.value, cst.Attribute)
        return decorator.with_changes(value=decorator.value.attr)
    return decorator


def _body(child: cst.FunctionDef, parent: cst.FunctionDef | None, super_calls: SuperCalls, scope: Scope) -> Body:
    lines = one_a_line(block(child.body).body)
    above = one_a_line(block(parent.body).body) if parent else []
    docstring, mine = python_docstring(lines) or python_docstring(above), python_statements(lines)
    check_unknown_methods(mine, scope)
    position = super_position(mine, child.name.value)
    inlining = inline(child, position, mine, parent) if parent and position is not None else None
    if inlining is None:
        return [*docstring, *_own(mine, child, super_calls, scope)] or [cst.SimpleStatementLine([cst.Pass()])]
    first = (*child.params.posonly_params, *child.params.params)[0].name.value
    merged = with_lines_replaced(inlining, first, scope.bases, scope.report)
    mine = [each for each in merged if not any(each is other for other in (*inlining.inlined, *inlining.bindings))]
    own = dict(zip(map(id, mine), _own(mine, child, super_calls, scope), strict=True))
    return [*docstring, *(own.get(id(each), each) for each in merged)] or [cst.SimpleStatementLine([cst.Pass()])]


def _own(body: Body, function: cst.FunctionDef, super_calls: SuperCalls, scope: Scope) -> Body:
    return [only_base_calls(each, scope.bases) for each in with_own_calls(body, function, super_calls, scope.report)]
