"""Merging three versions of a piece of code on their trees: what both changed apart comes together.

`base` is the parent's piece as it was when it was overridden, `ours` the override, `theirs` the parent's piece now; names
are those of the shard in all three.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from itertools import pairwise
from types import MappingProxyType
from typing import Any, TypeVar

import libcst as cst
from merge3 import Merge3

from ..syntax.deletions import deletes_attribute, deletes_method
from ..syntax.docstrings import docstrings, statements
from ..syntax.parameters import CATCH_ALL, Parameter, as_parameters, parameter_list
from ..syntax.scopes import names_of_body
from ..syntax.statements import assigned_target, super_position
from ..syntax.tree import Edits, bare, block, code, code_fields, essence, identifiers, rewrite, same_code, small, walk


Node = TypeVar("Node", bound=cst.CSTNode)
Body = Sequence[cst.BaseStatement]
MARK = "__conflict_{}__"


class Conflict(Exception):
    """Both sides changed the same thing, differently."""


@dataclass(frozen=True)
class Sides:
    """What could not be merged, as the three have it."""

    base: str
    ours: str
    theirs: str


@dataclass
class Merged:
    """A merged piece: where a statement could not be merged stands a mark with a number, in the order of `conflicts`."""

    node: cst.BaseStatement
    conflicts: list[Sides] = field(default_factory=list)


def merge(
    base: cst.BaseStatement,
    ours: cst.BaseStatement,
    theirs: cst.BaseStatement,
    first: int = 0,
    moved: Mapping[str, str] = MappingProxyType({}),
    gone: Set[str] = frozenset(),
    inherits: bool = True,
    own: Set[str] = frozenset(),
) -> Merged:
    """
    The override with what the parent changed since it was written.

    Args:
        first: the number of its first conflict.
        moved: names that other pieces of the parent gave up for others.
        gone: names that the parent has no longer. Whatever goes on saying one is a conflict.
        inherits: whether it is a method, which takes decorators by inheritance where it has none.
        own: names that the shard has for something of its own, and that nothing can be said of where the parent gave them up.
    """
    if deletes_method(ours) if isinstance(ours, cst.FunctionDef) else deletes_attribute(ours):
        return Merged(ours)
    old, mine = follow_names(base, ours, theirs, moved, own)
    merging = _Merging(first, inherits and not isinstance(base, cst.ClassDef))
    try:
        merged = Merged(merging.statement(old, mine, theirs), merging.conflicts)
    except Conflict:
        merged = None
    if merged and (merged.conflicts or not gone & words_of(merged.node) - words_of(theirs)):
        return merged
    whole = _Merging(first, inherits)
    return Merged(whole.mark([old], [mine], [theirs]), whole.conflicts)


def follow_names(
    base: Node,
    ours: Node,
    theirs: cst.CSTNode,
    moved: Mapping[str, str] = MappingProxyType({}),
    own: Set[str] = frozenset(),
) -> tuple[Node, Node]:
    """Base and override with the names that the parent has given up for others, also where they are the override's own, and
    where the override says one in a string: as a key, or in words."""
    found = {old: new for old, new in {**moved, **renamed(base, theirs)}.items() if old not in own}
    names = {old: new for old, new in found.items() if new not in identifiers(ours) or _are_types(old, new)}
    names = {old: new for old, new in names.items() if old not in identifiers(theirs)}
    words = names.keys() - _strings(theirs)
    sought = re.compile(rf"\b({'|'.join(sorted(words, key=len, reverse=True))})\b") if words else None

    def follow(node: cst.Name) -> cst.Name:
        return node.with_changes(value=names[node.value]) if node.value in names else node

    def in_words(match: re.Match[str]) -> str:
        whole = match.string.strip("\"'") == match[1]
        return names[match[1]] if whole or "_" in match[1] else match[1]  # else a word of the language

    def follow_word(node: Any) -> Any:
        return node.with_changes(value=sought.sub(in_words, node.value)) if sought else node

    edits: Edits = {
        cst.Name: follow,
        cst.SimpleString: follow_word,
        cst.FormattedStringText: follow_word,
        cst.Decorator: lambda node: rewrite(node, {cst.Name: follow}),
    }
    return rewrite(base, edits), rewrite(ours, edits)


def words_of(node: cst.CSTNode) -> frozenset[str]:
    """The names in the code, and its strings, but for those in decorators, where an old name may well stay."""
    return identifiers(node) | _strings(node)


def _strings(node: cst.CSTNode) -> frozenset[str]:
    """The strings in the code but for its decorators."""
    every, above = Counter(_raw_strings(node)), Counter[str]()
    for each in walk(node):
        if isinstance(each, cst.Decorator):
            above.update(_raw_strings(each))
    return frozenset(every - above)


def _raw_strings(node: cst.CSTNode) -> Iterator[str]:
    return (str(each.raw_value) for each in walk(node) if isinstance(each, cst.SimpleString))


def renamed(base: cst.CSTNode, theirs: cst.CSTNode) -> dict[str, str]:
    """Names that are gone from the parent, each with the one that stands in all of its places."""
    before, after = (list(map(_leaf, walk(node))) for node in (base, theirs))
    gone = identifiers(base) - identifiers(theirs)
    new = identifiers(theirs) - identifiers(base)
    found: dict[str, set[str]] = defaultdict(set)
    for kind, i, k, j, n in SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        if kind == "replace" and k - i == n - j:
            for old, other in zip(before[i:k], after[j:n], strict=True):
                found[old[1]].add(other[1])
    alone = {old: next(iter(names)) for old, names in found.items() if old in gone and len(names) == 1}
    return {old: name for old, name in alone.items() if name in new or _are_types(old, name)}


def _are_types(old: str, new: str) -> bool:
    """Whether both names look like types: one may give way to another that was there before."""
    return old[:1].isupper() and new[:1].isupper() and new.isidentifier()


def _leaf(node: cst.CSTNode) -> tuple[str, str]:
    value = getattr(node, "value", "")
    return type(node).__name__, value if isinstance(value, str) else ""


class _Merging:
    """One merge, with the conflicts that it met."""

    def __init__(self, first: int, inherits: bool) -> None:
        self.first, self.inherits = first, inherits
        self.conflicts: list[Sides] = []

    def mark(self, base: Body, ours: Body, theirs: Body) -> cst.SimpleStatementLine:
        """What stands in the tree for a conflict."""
        self.conflicts.append(Sides(*("".join(map(code, map(bare, each))) for each in (base, ours, theirs))))
        return cst.SimpleStatementLine([cst.Expr(cst.Name(MARK.format(self.first + len(self.conflicts) - 1)))])

    def statement(self, base: Node, ours: Node, theirs: Node) -> Node:
        if (
            isinstance(base, cst.FunctionDef)
            and isinstance(ours, cst.FunctionDef)
            and isinstance(theirs, cst.FunctionDef)
        ):
            return self.function(base, ours, theirs)  # type: ignore[return-value]
        return self.node(base, ours, theirs)

    def function(self, base: cst.FunctionDef, ours: cst.FunctionDef, theirs: cst.FunctionDef) -> cst.FunctionDef:
        """A method: decorators, annotation and docstring that the override has from the parent stay the parent's."""
        suite = block(ours.body)
        bodies = [list(block(each.body).body) for each in (base, ours, theirs)]
        position = super_position(statements(bodies[1]), ours.name.value) if self.inherits else None
        if position is not None:  # of a class that replaces its parent's whole, `super()` is what is above both
            return self.merged_into(base, ours, theirs, statements(bodies[1])[position + 1 :])
        said = docstrings(bodies[1])
        if not said or not _same_statements(said, docstrings(bodies[0])):  # the override's own stands
            bodies = [statements(body) for body in bodies]
        else:
            said = []
        return ours.with_changes(
            decorators=self.decorators(base, ours, theirs) if ours.decorators or not self.inherits else (),
            params=self.parameters(base.params, ours.params, theirs.params),
            returns=self.optional(base.returns, ours.returns, theirs.returns) if ours.returns else None,
            body=suite.with_changes(body=[*said, *self.statements(*bodies)]),
        )

    def merged_into(
        self, base: cst.FunctionDef, ours: cst.FunctionDef, theirs: cst.FunctionDef, after: Body
    ) -> cst.FunctionDef:
        """A method that calls the parent's: its header, and the lines that it takes from the parent."""
        old, new = (_assignments(block(each.body).body) for each in (base, theirs))
        replaced = {}
        for each in after:
            target = assigned_target(each) or ""
            if target in old and target in new:
                replaced[id(each)] = self._statement_or_mark(old[target], each, new[target])
            elif target in old:
                replaced[id(each)] = self.mark([old[target]], [each], [])
        body = [replaced.get(id(each), each) for each in block(ours.body).body]
        empty = block(ours.body).with_changes(body=[])
        header = self.function(*(each.with_changes(body=empty) for each in (base, ours, theirs)))
        return header.with_changes(body=block(ours.body).with_changes(body=body))

    def decorators(
        self, base: cst.FunctionDef, ours: cst.FunctionDef, theirs: cst.FunctionDef
    ) -> Sequence[cst.Decorator]:
        return self.sequence(base.decorators, ours.decorators, theirs.decorators)

    def parameters(self, base: cst.Parameters, ours: cst.Parameters, theirs: cst.Parameters) -> cst.Parameters:
        """Parameters by name: in the parent's order, the override's own after those that they followed."""
        if (whole := _one_sided(base, ours, theirs)) is not None:
            return whole
        old, mine, new = (dict(parameter_list(each)) for each in (base, ours, theirs))
        if CATCH_ALL in mine:  # it stands for what the parent has, whatever that is
            old, new = ({name: each for name, each in side.items() if name in mine} for side in (old, new))
        kept: dict[str, Parameter] = {}
        for name in _merged_order(list(mine), list(new)):
            found = self.optional(old.get(name), mine.get(name), new.get(name))
            if isinstance(found, cst.Param | cst.ParamStar | cst.ParamSlash):
                kept[name] = found
        try:
            return as_parameters(kept)
        except cst.CSTValidationError as error:
            raise Conflict from error

    def optional(self, base: Node | None, ours: Node | None, theirs: Node | None) -> Node | None:
        """A part that each may lack."""
        if base is None or ours is None or theirs is None:
            if _same(ours, base):
                return theirs
            if _same(theirs, base) or _same(ours, theirs):
                return ours
            raise Conflict
        return self.node(base, ours, theirs)

    def node(self, base: Node, ours: Node, theirs: Node) -> Node:
        """Three nodes that stand in the same place."""
        if (whole := _one_sided(base, ours, theirs)) is not None:
            return whole
        if not type(base) is type(ours) is type(theirs):
            raise Conflict
        changes = {}
        for name in code_fields(type(base)):
            parts = [getattr(each, name) for each in (base, ours, theirs)]
            try:
                changes[name] = self.part(*parts)
            except Conflict:
                if name != "annotation":  # which computes nothing: the override's own stands
                    raise
                changes[name] = getattr(ours, name)
        return ours.with_changes(**changes)

    def part(self, base: Any, ours: Any, theirs: Any) -> Any:
        """What a field of three nodes holds."""
        three = (base, ours, theirs)
        if all(isinstance(each, cst.IndentedBlock) for each in three):
            return ours.with_changes(body=self.statements(base.body, ours.body, theirs.body))
        if all(isinstance(each, cst.CSTNode | None) for each in three):
            return self.optional(*three)
        if all(isinstance(each, tuple | list) for each in three):
            return self.sequence(*three)
        if ours in (base, theirs):
            return theirs
        if theirs == base:
            return ours
        raise Conflict

    def sequence(self, base: Sequence[Node], ours: Sequence[Node], theirs: Sequence[Node]) -> list[Node]:
        """Arguments, elements, decorators: what both sides changed apart."""
        return list(_regions(base, ours, theirs, self._elements))

    def _elements(self, base: Sequence[Node], ours: Sequence[Node], theirs: Sequence[Node]) -> Iterator[Node]:
        if not len(base) == len(ours) == len(theirs):
            raise Conflict
        yield from map(self.node, base, ours, theirs)

    def statements(self, base: Body, ours: Body, theirs: Body) -> list[cst.BaseStatement]:
        """The statements of a block; what cannot be merged becomes a mark."""
        return list(_regions(base, ours, theirs, self._statements))

    def _statements(self, base: Body, ours: Body, theirs: Body) -> Iterator[cst.BaseStatement]:
        if len(base) == len(ours) == len(theirs):
            for three in zip(base, ours, theirs, strict=True):
                yield self._statement_or_mark(*three)
        elif _only_shorter(base, ours) and _only_shorter(base, theirs):
            kept = set(map(essence, theirs))
            yield from (each for each in ours if essence(each) in kept)
        elif (whole := _with_added(base, ours, theirs) or _with_added(base, theirs, ours)) is not None:
            yield from whole
        else:
            yield self.mark(base, ours, theirs)

    def _statement_or_mark(
        self, base: cst.BaseStatement, ours: cst.BaseStatement, theirs: cst.BaseStatement
    ) -> cst.BaseStatement:
        known = len(self.conflicts)
        try:
            return self.statement(base, ours, theirs)
        except Conflict:
            del self.conflicts[known:]
            return self.mark([base], [ours], [theirs])


def _same_statements(first: Body, second: Body) -> bool:
    return list(map(essence, first)) == list(map(essence, second))


def _only_shorter(base: Body, other: Body) -> bool:
    """Whether a side only took statements out."""
    rest = iter(map(essence, base))
    return all(any(each == essence(statement) for each in rest) for statement in other)


def _with_added(base: Body, longer: Body, other: Body) -> list[cst.BaseStatement] | None:
    """What the other side made of some statements, with those that this one only added before or behind them: where all that
    these read of the region is set there still. Of two additions in one place nobody knows the order."""
    before, known = list(map(essence, longer)), list(map(essence, base))
    size = len(known)
    if not base or not other or len(longer) <= size:
        return None
    read = {
        place: identifiers(*added)
        for place, added, rest in (
            ("behind", longer[size:], before[:size]),
            ("before", longer[:-size], before[-size:]),
        )
        if rest == known
    }
    for place, names in read.items():
        if names & set_in(base) - set_in(other):
            continue
        if place == "before":
            return [*longer[:-size], *other]
        if not isinstance(small(other[-1]), cst.Return | cst.Raise | cst.Continue | cst.Break):
            return [*other, *longer[size:]]
    return None


def set_in(body: Body) -> Set[str]:
    """The names and attributes that statements assign."""
    targets = (assigned_target(each) or "" for each in body)
    return names_of_body(list(body)).bound | {target.rpartition(".")[2] for target in targets}


def _assignments(body: Body) -> dict[str, cst.BaseStatement]:
    return {target: each for each in body if (target := assigned_target(each))}


def _one_sided(base: Node, ours: Node, theirs: Node) -> Node | None:
    """The node where at most one side changed it; None where both did."""
    if same_code(ours, base):
        return _with_comments(base, ours, theirs)
    return ours if same_code(theirs, base) or same_code(ours, theirs) else None


def _with_comments(base: Node, ours: Node, theirs: Node) -> Node:
    """Where the override only says something else in its comments or layout, and the parent changed no code, it stays."""
    return ours if same_code(theirs, base) and not ours.deep_equals(base) else theirs


def _same(first: cst.CSTNode | None, second: cst.CSTNode | None) -> bool:
    if first is None or second is None:
        return first is second
    return same_code(first, second)


def _merged_order(ours: Sequence[str], theirs: Sequence[str]) -> list[str]:
    """The names of both, in the order of theirs; each that only ours has comes after what it followed there."""
    order = list(theirs)
    for before, name in pairwise(["", *ours]):
        if name not in order:
            order.insert(order.index(before) + 1 if before in order else 0, name)
    return order


Resolve = Callable[[Sequence[Node], Sequence[Node], Sequence[Node]], Iterator[Node]]


def _regions(
    base: Sequence[Node], ours: Sequence[Node], theirs: Sequence[Node], resolve: Resolve[Node]
) -> Iterator[Node]:
    """The merged sequence: `resolve` is asked where both sides changed the same stretch."""
    old_keys, keys, new_keys = ([repr(essence(each)) for each in side] for side in (base, ours, theirs))
    at = (0, 0, 0)
    for start, end, mine, mine_end, new, new_end in Merge3(old_keys, keys, new_keys).find_sync_regions():
        stretch = base[at[0] : start], ours[at[1] : mine], theirs[at[2] : new]
        yield from _stretch(*stretch, resolve)
        yield from map(_with_comments, base[start:end], ours[mine:mine_end], theirs[new:new_end])
        at = (end, mine_end, new_end)


def _stretch(
    base: Sequence[Node], ours: Sequence[Node], theirs: Sequence[Node], resolve: Resolve[Node]
) -> Iterator[Node]:
    old, mine, new = ([essence(each) for each in side] for side in (base, ours, theirs))
    if mine == old:
        yield from theirs
    elif new in (old, mine):
        yield from ours
    else:
        yield from resolve(base, ours, theirs)
