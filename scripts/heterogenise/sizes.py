"""Which fields of a config give a sub-block its sizes, read off the constructors of its modules."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import libcst as cst

from ..modular_converter.syntax.tree import block, code, walk
from .parent import Parent


NOT_SIZES = {"bias", "eps", "device", "dtype", "padding_idx", "elementwise_affine", "p", "layer_idx"}
CONFIG = frozenset({"<config>"})  # what stands for the config itself among the fields that a value depends on
Fields = frozenset[str]
NONE: Fields = frozenset()


@dataclass
class Uses:
    """What modules make of the config: fields that size something, fields that are read at all."""

    sizes: set[str] = field(default_factory=set)
    inputs: set[str] = field(default_factory=set)  # that size what a linear map reads
    reads: set[str] = field(default_factory=set)
    classes: set[str] = field(default_factory=set)
    divides: set[tuple[str, str]] = field(default_factory=set)  # (divisor, what it divides without a rest)
    splits: set[tuple[str, str]] = field(default_factory=set)  # (part, what it is split off)

    def __ior__(self, other: "Uses") -> "Uses":
        self.sizes |= other.sizes
        self.inputs |= other.inputs
        self.reads |= other.reads
        self.classes |= other.classes
        self.divides |= other.divides
        self.splits |= other.splits
        return self


class Reader:
    """Follows fields of the config through constructors."""

    def __init__(self, parent: Parent) -> None:
        self.parent = parent

    def uses_of_call(self, call: cst.Call, known: Mapping[str, Fields]) -> Uses:
        """What a call that builds a module makes of the config."""
        uses = Uses()
        self._value(call, dict(known), uses)
        return uses

    def _value(self, node: cst.CSTNode, known: dict[str, Fields], uses: Uses) -> Fields:
        """The fields that a value depends on; what it builds on the way is noted."""
        match node:
            case cst.Name(value=name):
                return known.get(name, NONE)
            case cst.Attribute(value=owner, attr=cst.Name(value=name)):
                if code(node) in known:
                    return known[code(node)]
                return self._field(name, uses) if self._is_config(owner, known) else NONE
            case cst.Call(func=cst.Name("getattr"), args=[owner, cst.Arg(value=cst.SimpleString() as name), *rest]):
                others = [self._value(each.value, known, uses) for each in rest]
                if self._is_config(owner.value, known):
                    return self._field(str(name.evaluated_value), uses).union(*others)
                return NONE
            case cst.Call():
                return self._call(node, known, uses)
            case cst.BinaryOperation(operator=cst.FloorDivide() | cst.Subtract()):
                return self._part(node, known, uses)
            case cst.IfExp(test=test, body=body, orelse=orelse) if (
                given := _asks_whether_given(test, known)
            ) is not None:
                return self._value(body if given else orelse, known, uses)
        children = [each for each in node.children if isinstance(each, cst.CSTNode)]
        return NONE.union(*(self._value(each, known, uses) for each in children)) - CONFIG

    def _part(self, node: cst.BinaryOperation, known: dict[str, Fields], uses: Uses) -> Fields:
        """What `a // b` and `a - b` depend on."""
        one, two = self._value(node.left, known, uses), self._value(node.right, known, uses)
        pairs = {(small, big) for small in two - CONFIG for big in one - CONFIG} if len(one) == 1 else set()
        if isinstance(node.operator, cst.FloorDivide):
            uses.divides |= pairs
        elif len(two) == 1:
            uses.splits |= pairs
        return (one | two) - CONFIG

    def _is_config(self, node: cst.CSTNode, known: Mapping[str, Fields]) -> bool:
        return known.get(code(node), NONE) == CONFIG

    def _field(self, name: str, uses: Uses) -> Fields:
        name = self.parent.other_names.get(name, name)
        uses.reads.add(name)
        return frozenset({name})

    def _call(self, call: cst.Call, known: dict[str, Fields], uses: Uses) -> Fields:
        name = code(call.func)
        values = [(each, self._value(each.value, known, uses)) for each in call.args]
        if self.parent.is_class(name):
            self._build(name, values, uses)
            return NONE
        sizing = [value for each, value in values if not (each.keyword and each.keyword.value in NOT_SIZES)]
        found = NONE.union(*sizing) - CONFIG
        if name == "nn.Linear" and values:
            uses.inputs |= next(
                (value for each, value in values if each.keyword and each.keyword.value == "in_features"), values[0][1]
            )
        if re.match(r"nn\.[A-Z]|torch\.(empty|zeros|ones|randn|full)$", name):
            uses.sizes |= found
        if name.rpartition(".")[2] == "topk":
            uses.sizes |= {each for each in found if "group" not in each}  # a choice of groups is one of all layers
        return found | (self._value(call.func, known, uses) - CONFIG)

    def _build(self, name: str, values: list[tuple[cst.Arg, Fields]], uses: Uses) -> None:
        """Go through the constructor of a class, and what its methods read."""
        uses.classes.add(name)
        methods = self.parent.methods(name)
        init = methods.get("__init__")
        known: dict[str, Fields] = {}
        if isinstance(init, cst.FunctionDef):
            parameters = [each.name.value for each in (*init.params.params, *init.params.kwonly_params)][1:]
            positional = iter(parameters)
            for each, value in values:
                known[each.keyword.value if each.keyword else next(positional, "")] = value
            if init.params.params[1:] and known.get(parameters[0]) == CONFIG:
                known["self.config"] = CONFIG
            self._statements(block(init.body).body, known, uses)
            if any(code(each.func).endswith("super().__init__") for each in walk(init) if isinstance(each, cst.Call)):
                self._above(name, values, known, uses)
        attributes = {key: value for key, value in known.items() if key.startswith("self.")}
        for method in methods.values():
            if isinstance(method, cst.FunctionDef) and method is not init:
                self._statements(block(method.body).body, dict(attributes), uses)

    def _above(self, name: str, values: list[tuple[cst.Arg, Fields]], known: dict[str, Fields], uses: Uses) -> None:
        """The constructor of the class above, where that is of this file."""
        for above in self.parent.lineage(name)[1:2]:
            if isinstance(self.parent.methods(above).get("__init__"), cst.FunctionDef):
                self._build(above, values, uses)

    def _statements(self, statements: Iterable[cst.CSTNode], known: dict[str, Fields], uses: Uses) -> None:
        for statement in statements:
            for each in _lines(statement):
                self._statement(each, known, uses)

    def _statement(self, node: cst.CSTNode, known: dict[str, Fields], uses: Uses) -> None:
        match node:
            case cst.Assign(targets=[cst.AssignTarget(target=target)], value=value):
                whole = self._whole(value, known)
                found = whole or self._value(value, known, uses)
                known[code(target)] = found if whole else known.get(code(target), NONE) | found
            case cst.AnnAssign(target=target, value=value) if value is not None:
                known[code(target)] = self._value(value, known, uses)
            case _:
                self._value(node, known, uses)

    def _whole(self, value: cst.CSTNode, known: Mapping[str, Fields]) -> Fields:
        """The config itself under another name."""
        return CONFIG if self._is_config(value, known) else NONE


def _asks_whether_given(test: cst.BaseExpression, known: Mapping[str, Fields]) -> bool | None:
    """What `x is None`, or `x is not None`, of a parameter comes to, by whether the call gives it; None for others."""
    match test:
        case cst.Comparison(
            left=cst.Name(value=name),
            comparisons=[cst.ComparisonTarget(operator=operator, comparator=cst.Name("None"))],
        ):
            return (name in known) == isinstance(operator, cst.IsNot)
    return None


def _lines(statement: cst.CSTNode) -> Iterator[cst.CSTNode]:
    """The simple statements of a statement, and the conditions of those that branch."""
    if isinstance(statement, cst.SimpleStatementLine):
        yield from statement.body
    elif isinstance(statement, cst.If):
        yield statement.test
        yield from (each for line in block(statement.body).body for each in _lines(line))
        if isinstance(statement.orelse, cst.Else):
            yield from (each for line in block(statement.orelse.body).body for each in _lines(line))
        elif statement.orelse:
            yield from _lines(statement.orelse)
    elif isinstance(statement, cst.For | cst.With | cst.While):
        if isinstance(statement, cst.For):
            yield statement.iter
        yield from (each for line in block(statement.body).body for each in _lines(line))
    elif not isinstance(statement, cst.FunctionDef):
        yield statement


def reads_outside(parent: Parent, inside: set[str]) -> dict[str, list[cst.CSTNode]]:
    """Field -> where classes and functions other than these read it from a config."""
    found: dict[str, list[cst.CSTNode]] = {}
    for each in parent.modeling.of_kind("class", "function"):
        if each.name in inside:
            continue
        for node in walk(each.node):
            if name := read_field(node):
                found.setdefault(parent.other_names.get(name, name), []).append(node)
    return found


def read_field(node: cst.CSTNode) -> str:
    """`x` of `config.x`, `self.config.x` and `getattr(config, "x", ...)`; else nothing."""
    match node:
        case cst.Attribute(value=owner, attr=cst.Name(value=name)) if re.fullmatch(r"(self\.)?\w*config", code(owner)):
            return str(name)
        case cst.Call(func=cst.Name("getattr"), args=[owner, cst.Arg(value=cst.SimpleString() as name), *_]) if (
            re.fullmatch(r"(self\.)?\w*config", code(owner.value))
        ):
            return str(name.evaluated_value)
    return ""


def is_integer(field_node: cst.AnnAssign) -> bool:
    """Whether a field of a config holds an integer, or None."""
    words = {word.strip() for word in code(field_node.annotation.annotation).split("|")}
    return "int" in words and words <= {"int", "None"}


def statement_names(node: cst.CSTNode) -> list[str]:
    """`x` of each `self.x` in a statement of a config class."""
    return [
        each.attr.value
        for each in walk(node)
        if isinstance(each, cst.Attribute) and isinstance(each.value, cst.Name) and each.value.value == "self"
    ]


def literal_default(field_node: cst.AnnAssign) -> str:
    return code(field_node.value) if field_node.value else ""
