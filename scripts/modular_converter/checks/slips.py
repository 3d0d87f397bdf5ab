"""What runs otherwise than its author means, or not at all, and can be known from the shard and its parents."""

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import libcst as cst
from libcst import matchers as m

from ..shards.shard import Parent, Shard
from ..sources.diagnostics import Diagnostic, nearest
from ..sources.members import Pieces, pieces_of
from ..sources.paths import installed_folder
from ..syntax.statements import assigned_target, deletions
from ..syntax.tree import block, identifiers, small, walk


Slip = tuple[cst.CSTNode, str, bool]  # where, what, whether it is a warning
_MUTABLE = m.List() | m.Dict() | m.Set()
_LITERAL = m.Integer() | m.Float() | m.UnaryOperation() | m.Name("None") | m.Name("True") | m.Name("False")
_SUPER_CALL = m.Call(func=m.Attribute(value=m.Call(func=m.Name("super"))))
_FIELD = m.Attribute(value=m.Name("config") | m.Attribute(m.Name("self"), m.Name("config")))
_INIT = m.Call(func=m.Attribute(attr=m.Name("__init__")))


def slips(shard: Shard) -> Iterator[Diagnostic]:
    """The slips in classes that inherit from a model."""
    for name in shard.classes:
        place = shard.parent_of(name)
        child = shard.source.definitions[name].node if name in shard.source.definitions else None
        if place is None or not isinstance(child, cst.ClassDef):
            continue
        index, base = place
        parent = shard.parents[index].source.definitions[base].node
        if not isinstance(parent, cst.ClassDef):
            continue
        found = [*_of_class(child, parent, base), *_unknown_fields(child, shard, shard.parents[index])]
        if shard.types[name] == "configuration":
            found += _of_config(child, parent, shard)
        for node, message, warning in found:
            yield Diagnostic(shard.path, *shard.source.position(node), message, warning)


def _of_class(child: cst.ClassDef, parent: cst.ClassDef, base: str) -> Iterator[Slip]:
    mine, theirs = pieces_of(child), pieces_of(parent)
    for name, node in mine.items():
        if isinstance(node, cst.FunctionDef):
            yield from _misspelt(name, node, mine, theirs, base)
            yield from _deleted(node, mine, theirs, base)
            yield from _wrong_arguments(node, theirs, base)
        elif "super" in identifiers(node):
            yield (
                node,
                "`super()` in an attribute looks past the parent, which is flattened away: write a method",
                False,
            )
    init = mine.get("__init__")
    calls_none = isinstance(init, cst.FunctionDef) and not any(m.matches(each, _INIT) for each in walk(init))
    if init and calls_none and "__init__" in theirs:
        message = f"__init__ calls no other one: nothing that {base} builds is there, and a torch module needs "
        yield init, message + "`super().__init__(...)`, or `nn.Module.__init__(self)`", True


def _wrong_arguments(method: cst.FunctionDef, theirs: Pieces, base: str) -> Iterator[Slip]:
    """Calls of a parent's method with more than it takes."""
    for call in (each for each in walk(method) if m.matches(each, _SUPER_CALL)):
        assert isinstance(call, cst.Call) and isinstance(call.func, cst.Attribute)
        name = call.func.attr.value
        target = theirs.get(name)
        if not isinstance(target, cst.FunctionDef) or any(each.star for each in call.args):
            continue
        params = target.params
        places = [each.name.value for each in (*params.posonly_params, *params.params)][1:]
        known = {*places, *(each.name.value for each in params.kwonly_params)}
        given = sum(each.keyword is None for each in call.args)
        if not isinstance(params.star_arg, cst.Param) and given > len(places):
            yield call, f"{name} of {base} takes {len(places)} arguments, {places}, and {given} are given", False
        unknown = [each.keyword.value for each in call.args if each.keyword and each.keyword.value not in known]
        if unknown and not params.star_kwarg and not target.decorators:
            yield call, f"{name} of {base} takes no {', '.join(unknown)}, only {sorted(known)}", False


def _unknown_fields(child: cst.ClassDef, shard: Shard, parent: Parent) -> Iterator[Slip]:
    """Fields that neither config nor anything around the parent names, and that are close to one of its config's."""
    fields = _words_in(parent.source.path.with_name(f"configuration_{parent.model}.py"))
    folder = installed_folder("transformers")
    library = _words_in(folder / "configuration_utils.py") if folder else frozenset()
    elsewhere = re.sub(r"\bconfig\.\w+", " ", shard.source.text)
    known = fields | parent.names | _words(elsewhere) | library
    for node in (each for each in walk(child) if m.matches(each, _FIELD)):
        assert isinstance(node, cst.Attribute)
        near = nearest(node.attr.value, fields)
        if near and node.attr.value not in known:
            yield node, f"no config of {parent.model} has {node.attr.value}{near}", True


def _words(text: str) -> frozenset[str]:
    return frozenset(re.findall(r"[A-Za-z_]\w*", text))


@cache
def _words_in(path: Path) -> frozenset[str]:
    """Those of a file, read once for all classes; none where there is no such file."""
    return _words(path.read_text(encoding="utf-8")) if path.is_file() else frozenset()


def _misspelt(name: str, node: cst.CSTNode, mine: Pieces, theirs: Pieces, base: str) -> Iterator[Slip]:
    """A new method whose name has the letters of one of the parent's, but for one at most."""
    near = [each for each in theirs if each not in mine and each[:1] == name[:1] and _slipped(name, each)]
    if name not in theirs and near and isinstance(theirs[near[0]], cst.FunctionDef):
        yield node, f"{base} has no {name}, which nothing calls: is {near[0]} meant?", True


def _slipped(name: str, other: str) -> bool:
    """Whether one is the other with a letter left out, or with two in each other's place."""
    long, short = sorted((name, other), key=len, reverse=True)
    if len(long) == len(short):
        return name != other and sorted(name) == sorted(other)
    return len(long) == len(short) + 1 and any(long[:at] + long[at + 1 :] == short for at in range(len(long)))


def _deleted(method: cst.FunctionDef, mine: Pieces, theirs: Pieces, base: str) -> Iterator[Slip]:
    """`del self.x` of what a method of the parent's that stays reads."""
    body = block(method.body).body
    assigned = {assigned_target(each) for each in body}
    for node, text in deletions(body):
        if not isinstance(node, cst.Attribute) or text in assigned:
            continue
        readers = [
            name
            for name, piece in theirs.items()
            if name not in mine and isinstance(piece, cst.FunctionDef) and _reads(piece, node.attr.value)
        ]
        if readers:
            yield node, f"{', '.join(readers)} of {base} reads {text}: override it, or leave {text} there", False


def _reads(method: cst.FunctionDef, attribute: str) -> bool:
    return any(m.matches(each, m.Attribute(m.Name("self"), m.Name(attribute))) for each in walk(method))


def _of_config(child: cst.ClassDef, parent: cst.ClassDef, shard: Shard) -> Iterator[Slip]:
    fields = {name for name, node in pieces_of(parent).items() if isinstance(small(node), cst.AnnAssign)}
    for name, piece in pieces_of(child).items():
        node = small(piece)
        if isinstance(node, cst.AnnAssign) and m.matches(node, m.AnnAssign(value=_MUTABLE)):
            yield node, f"{name} has a mutable default, which a dataclass refuses: use None, or a tuple", False
        elif (
            isinstance(node, cst.Assign)
            and fields
            and name not in pieces_of(parent)
            and m.matches(node.value, _LITERAL)
        ):
            yield node, f"{name} has no annotation, and so is no field that a config takes and saves", True
        elif name == "model_type" and _text(node) in shard.names.config_of_type:
            message = f"{_text(node)!r} is the model_type of a model of transformers, and would take its place"
            yield node, message, False


def _text(node: cst.CSTNode) -> str:
    """The string that a statement assigns."""
    value = getattr(node, "value", None)
    return str(value.raw_value) if isinstance(value, cst.SimpleString) else ""
