"""Whether the halves of an expanded file fit: calls and what they call, decorators and parameters, outputs and fields.

An inherited caller and an overridden callee are written on different days; no record of overrides sees that.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache

import libcst as cst
from libcst import matchers as m

from ..sources.diagnostics import ShardError
from ..sources.members import piece_name
from ..sources.module_lookup import module_file
from ..sources.paths import Home
from ..sources.source import SourceFile, imports_in, read_source
from ..syntax.decorators import DEPRECATES
from ..syntax.import_statements import aliases, bound_name
from ..syntax.tree import block, code, walk


# Decorators that leave a signature as it is.
_TRANSPARENT = frozenset(
    {
        "auto_docstring",
        "can_return_tuple",
        "capture_outputs",
        "deprecate_kwarg",
        "force_accelerate_hooks",
        "merge_with_config_defaults",
        "torch.no_grad",
        "torch.inference_mode",
    }
)
Fields = Callable[[str], frozenset[str] | None]
Methods = dict[str, cst.FunctionDef]
Found = tuple[cst.CSTNode, cst.FunctionDef | None, str]  # what does not fit, what it was meant for, why


@dataclass(frozen=True, eq=False)
class Mismatch:
    """A call (or decorator, or attribute), the names of what it does not fit to and of where it stands
    (`Class.method`), and why. It is `doubtful` where it goes by an annotation, which may name a base of what is there."""

    node: cst.CSTNode
    names: tuple[str, ...]
    message: str
    doubtful: bool = False


@dataclass(frozen=True)
class Signature:
    """What may be passed to a function by keyword, what has to be passed, and whether anything else is taken."""

    function: cst.FunctionDef
    names: tuple[str, ...]
    required: frozenset[str]
    old: frozenset[str]
    open_keywords: bool
    open_positions: bool


@dataclass
class _File:
    """What a file defines."""

    functions: Methods = field(default_factory=dict)
    classes: dict[str, cst.ClassDef] = field(default_factory=dict)
    methods: dict[str, Methods] = field(default_factory=dict)
    names: dict[int, str] = field(default_factory=dict)

    def add(self, node: cst.CSTNode) -> None:
        if isinstance(node, cst.FunctionDef):
            self.functions[node.name.value] = node
            self.names[id(node)] = node.name.value
        elif isinstance(node, cst.ClassDef):
            name = node.name.value
            self.classes[name], self.methods[name] = node, _methods(node)
            self.names |= {id(each): f"{name}.{method}" for method, each in self.methods[name].items()}

    def lookup(self, name: str, method: str) -> cst.FunctionDef | None:
        """The method that a class of this file has or inherits in this file; None where that is out of sight."""
        for each in self.lineage(name):
            if method in self.methods[each]:
                return self.methods[each][method]
        return None

    def lineage(self, name: str) -> Iterator[str]:
        """A class and its first bases, as far as they are defined here."""
        seen: set[str] = set()
        while name in self.classes and name not in seen:
            seen.add(name)
            yield name
            name = next((code(base.value) for base in self.classes[name].bases), "")


def mismatches(nodes: Iterable[cst.CSTNode], fields: Fields) -> Iterator[Mismatch]:
    """
    What does not fit in a file.

    Args:
        nodes: Its top-level statements.
        fields: The names that an output class has, by the name under which the file imports it; None where that is no
            output class.
    """
    file = _File()
    for node in nodes:
        file.add(node)
    for function in file.functions.values():
        yield from _named(function, file, _in_function(function, _callees(file, "", {}), fields))
    for name in file.classes:
        attributes = _attributes(file, name)
        callees = _callees(file, name, attributes)
        inherited: Methods = {}
        for each in file.lineage(name):
            inherited = file.methods[each] | inherited
        for method in inherited.values():
            found = _in_function(method, callees | _loops(method, attributes, file), fields)
            yield from _named(method, file, found)


def _named(function: cst.FunctionDef, file: _File, found: Iterable[Found]) -> Iterator[Mismatch]:
    for node, callee, message in found:
        both = (callee, function) if callee else (function,)
        names = tuple(dict.fromkeys(file.names[id(each)] for each in both))
        yield Mismatch(node, names, message, isinstance(node, cst.Attribute))


def _methods(node: cst.ClassDef) -> Methods:
    return {each.name.value: each for each in block(node.body).body if isinstance(each, cst.FunctionDef)}


Callees = dict[str, cst.FunctionDef]


def _callees(file: _File, name: str, attributes: Mapping[str, str]) -> Callees:
    """What can be called under which words: functions, classes, methods and sub-modules of a class."""
    found = dict(file.functions)
    found |= {each: init for each in file.classes if (init := file.methods[each].get("__init__"))}
    for each in file.lineage(name):
        found |= {
            f"self.{method}": node for method, node in file.methods[each].items() if f"self.{method}" not in found
        }
    for attribute, owner in attributes.items():
        if forward := file.lookup(owner, "forward"):
            found[f"self.{attribute}"] = forward
    return found


def _attributes(file: _File, name: str) -> dict[str, str]:
    """The class of each attribute that is only ever a module of this file; of a list of them, that of its items."""
    found: dict[str, set[str]] = {}
    for each in file.lineage(name):
        for method in file.methods[each].values():
            for node in walk(method):
                if isinstance(node, cst.Assign):
                    for target in node.targets:
                        if m.matches(target.target, m.Attribute(value=m.Name("self"))):
                            found.setdefault(target.target.attr.value, set()).add(_built(node.value, file))  # type: ignore[attr-defined]
    return {attribute: next(iter(kinds)) for attribute, kinds in found.items() if len(kinds) == 1 and "" not in kinds}


def _built(value: cst.BaseExpression, file: _File) -> str:
    """The class of this file that an expression builds, itself or in a list."""
    match value:
        case cst.Call(func=cst.Name(value=name)) if name in file.classes:
            return name
        case cst.Call(func=func, args=[cst.Arg(value=cst.ListComp(elt=element))]) if code(func) == "nn.ModuleList":
            return _built(element, file)
    return ""


def _loops(method: cst.FunctionDef, attributes: Mapping[str, str], file: _File) -> Callees:
    """What the variables of loops over lists of modules are called with, where that is one thing in all of its loops."""
    found: dict[str, set[str]] = {}
    for node in walk(method):
        if isinstance(node, cst.For):
            target, items = _looped(node)
            if isinstance(target, cst.Name):
                found.setdefault(target.value, set()).add(attributes.get(items, ""))
    owners = {name: next(iter(kinds)) for name, kinds in found.items() if len(kinds) == 1}
    return {name: forward for name, owner in owners.items() if (forward := file.lookup(owner, "forward"))}


def _looped(node: cst.For) -> tuple[cst.CSTNode, str]:
    """What a loop binds, and the attribute of `self` that it goes through, in parts or counted."""
    target: cst.CSTNode = node.target
    items = node.iter
    if m.matches(items, m.Call(func=m.Name("enumerate"))) and isinstance(target, cst.Tuple):
        target, items = target.elements[1].value, items.args[0].value  # type: ignore[attr-defined]
    if isinstance(items, cst.Subscript):
        items = items.value
    words = _words(items)
    return target, words.removeprefix("self.") if words.startswith("self.") else ""


def _in_function(function: cst.FunctionDef, callees: Callees, fields: Fields) -> Iterator[Found]:
    yield from _decorators(function)
    local = {each.name.value for each in walk(function.params) if isinstance(each, cst.Param)}
    outputs: dict[str, str] = {}
    for node in walk(function.body):
        match node:
            case cst.Call(func=func) if (name := _words(func)) in callees and name not in local:
                yield from _call(node, callees[name], name)
            case cst.Call(func=cst.Name(value=name)) if known := fields(name):
                yield from _built_output(node, name, known)
            case cst.AnnAssign(
                target=cst.Name(value=target), annotation=cst.Annotation(annotation=cst.Name(value=kind))
            ):
                outputs[target] = kind
            case cst.Attribute(value=cst.Name(value=name), attr=cst.Name(value=attribute)) if name in outputs:
                known = fields(outputs[name])
                if known and attribute not in known:
                    yield node, None, f"{outputs[name]} has no field {attribute}"


def _words(func: cst.BaseExpression) -> str:
    """`f`, or `self.f`."""
    match func:
        case cst.Name(value=name):
            return name
        case cst.Attribute(value=cst.Name(value="self"), attr=cst.Name(value=name)):
            return f"self.{name}"
    return ""


def _decorators(function: cst.FunctionDef) -> Iterator[Found]:
    """A decorator that passes a keyword on under another name: the function must take that, and no longer the old one."""
    signature = signature_of(function)
    for each in function.decorators:
        for arg in each.decorator.args if isinstance(each.decorator, cst.Call) and m.matches(each, DEPRECATES) else ():
            if m.matches(arg, m.Arg(keyword=m.Name("new_name"), value=m.SimpleString())):
                name = str(arg.value.evaluated_value)  # type: ignore[attr-defined]
                swallowed = signature.open_keywords and signature.old.isdisjoint(signature.names)
                if name not in signature.names and not swallowed:
                    message = f"the decorator passes {name} on, which {function.name.value} does not take"
                    yield each, function, message


def signature_of(function: cst.FunctionDef) -> Signature:
    """What a function takes, `self` aside."""
    params = function.params
    named = [*params.posonly_params, *params.params]
    if named and named[0].name.value in ("self", "cls"):
        named = named[1:]
    every = [*named, *params.kwonly_params]
    return Signature(
        function,
        tuple(each.name.value for each in every),
        frozenset(each.name.value for each in every if each.default is None),
        frozenset(
            each.decorator.args[0].value.raw_value  # type: ignore[attr-defined]
            for each in function.decorators
            if m.matches(
                each,
                m.Decorator(
                    decorator=m.Call(func=m.Name("deprecate_kwarg"), args=[m.Arg(m.SimpleString()), m.ZeroOrMore()])
                ),
            )
        ),
        params.star_kwarg is not None,
        isinstance(params.star_arg, cst.Param),
    )


def _call(node: cst.Call, function: cst.FunctionDef, name: str) -> Iterator[Found]:
    if not all(_name_of(each) in _TRANSPARENT for each in function.decorators):
        return
    signature = signature_of(function)
    given = [arg.keyword.value for arg in node.args if arg.keyword]
    unknown = (
        [] if signature.open_keywords else [each for each in given if each not in {*signature.names, *signature.old}]
    )
    for each in unknown:
        takes = ", ".join(signature.names)
        yield node, function, f"`{name}` is called with {each}, which it does not take (it takes {takes})"
    if unknown or any(arg.star for arg in node.args):
        return
    positions = sum(not arg.keyword for arg in node.args)
    missing = [each for each in signature.names[positions:] if each in signature.required and each not in given]
    if missing and not (signature.old & set(given)):
        yield node, function, f"`{name}` is called without {', '.join(missing)}, which it needs"


def _name_of(decorator: cst.Decorator) -> str:
    called = decorator.decorator
    return code(called.func if isinstance(called, cst.Call) else called)


def _built_output(node: cst.Call, name: str, known: frozenset[str]) -> Iterator[Found]:
    for arg in node.args:
        if arg.keyword and arg.keyword.value not in known:
            yield node, None, f"{name} has no field {arg.keyword.value}"


def fields_in(imports: Iterable[cst.CSTNode], home: Home) -> Fields:
    """The fields of the output classes that a file imports, read where they are defined."""
    origins = {
        bound_name(alias): (alias.evaluated_name, node)
        for each in imports
        for node in imports_in(each)
        if isinstance(node, cst.ImportFrom)
        for alias in aliases(node)
    }

    @cache
    def fields(name: str) -> frozenset[str] | None:
        original, node = origins.get(name, ("", None))
        if node is None or "Output" not in original:
            return None
        try:
            source = read_source(module_file(node, home))
        except (LookupError, ShardError):
            return None
        found = frozenset(_fields_of(original, source))
        return found | frozenset(dir(dict)) | {"to_tuple"} if "ModelOutput" in found else None

    return fields


def _fields_of(name: str, source: SourceFile) -> Iterator[str]:
    """The names in the body of an output class and its bases, and that of the base where they end, `ModelOutput`."""
    statement = source.definitions.get(name)
    if name == "ModelOutput":
        yield name
    elif statement is not None and isinstance(statement.node, cst.ClassDef):
        for each in block(statement.node.body).body:
            yield piece_name(each)
        for base in statement.bases:
            yield from _fields_of(base, source)
