"""What a model of transformers consists of, read off its files: config, decoder layer, model and heads."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import libcst as cst

from ..modular_converter.shards.shard import exports
from ..modular_converter.sources.members import Pieces, pieces_of
from ..modular_converter.sources.source import SourceFile, read_source
from ..modular_converter.syntax.tree import block, code, descend, rewrite, small, walk


class DoesNotFit(Exception):
    """Which part of a parent is not as expected, with its file and line."""

    def __init__(self, reasons: list[str]) -> None:
        self.reasons = reasons
        super().__init__("\n".join(reasons))


class OutsideScope(DoesNotFit):
    """The model is of a kind that families with layers that differ are not made of."""


@dataclass(frozen=True)
class Parent:
    """The files of a model, and which of their classes are what."""

    model: str
    modeling: SourceFile
    configuration: SourceFile
    causal: str
    base: str
    layer: str
    pretrained: str
    config: str
    layers: tuple[str, ...] = ()  # where there are several classes of layers, all of them
    stack: str = "layers"  # the attribute of the model that has them

    def refusal(self, node: cst.CSTNode | None, reason: str) -> DoesNotFit:
        return DoesNotFit([f"{self.place(node)}: {reason}"])

    def place(self, node: cst.CSTNode | None, source: SourceFile | None = None) -> str:
        """`modeling_x.py:12` of a node, or the file alone."""
        source = source or self.modeling
        try:
            return f"{source.path.name}:{source.line(node)}" if node else source.path.name
        except LookupError:
            return source.path.name

    def node(self, name: str) -> cst.ClassDef:
        node = self.modeling.definitions[name].node
        assert isinstance(node, cst.ClassDef)
        return node

    @property
    def text(self) -> str:
        return self.modeling.text + self.configuration.text

    def is_class(self, name: str) -> bool:
        found = self.modeling.definitions.get(name)
        return found is not None and found.kind == "class"

    def lineage(self, name: str) -> list[str]:
        """A class and those of its file that it inherits from, itself first."""
        found = [name]
        for base in self.modeling.definitions[name].bases:
            if self.is_class(base):
                found += [each for each in self.lineage(base) if each not in found]
        return found

    def bases(self, name: str) -> list[str]:
        """All that a class inherits from, as far as its file goes."""
        return [base for each in self.lineage(name) for base in self.modeling.definitions[each].bases]

    def constructor(self) -> list[cst.BaseStatement]:
        """The statements of the layer's constructor; a class that is chosen by a variable stands where it is called."""
        return with_chosen_classes(self, statements_of(self.method(self.layer, "__init__")))

    def methods(self, name: str) -> Pieces:
        """The methods and attributes of a class, with those that it inherits within its file."""
        found: Pieces = {}
        for each in reversed(self.lineage(name)):
            found |= pieces_of(self.node(each))
        return found

    def method(self, name: str, method: str) -> cst.FunctionDef:
        found = self.methods(name).get(method)
        if not isinstance(found, cst.FunctionDef):
            raise self.refusal(self.node(name), f"{name} has no {method} of its own")
        return found

    @cached_property
    def config_pieces(self) -> Pieces:
        node = self.configuration.definitions[self.config].node
        assert isinstance(node, cst.ClassDef)
        return pieces_of(node)

    @cached_property
    def fields(self) -> dict[str, cst.AnnAssign]:
        """The fields that the config declares, in order."""
        found = {name: small(node) for name, node in self.config_pieces.items()}
        return {name: node for name, node in found.items() if isinstance(node, cst.AnnAssign)}

    def config_text(self, attribute: str) -> str:
        """What an attribute of the config class is set to; nothing where it has none."""
        node = small(self.config_pieces.get(attribute))
        return code(node.value) if isinstance(node, cst.Assign | cst.AnnAssign) and node.value else ""

    @cached_property
    def other_names(self) -> dict[str, str]:
        """Other name -> field: the `attribute_map` of the config, turned round where it keeps a field that it declares under a
        name that it does not."""
        turned = {
            other: own for other, own in self.attribute_map.items() if other in self.fields and own not in self.fields
        }
        return {own: other for other, own in turned.items()} | {
            other: own for other, own in self.attribute_map.items() if other not in turned
        }

    @cached_property
    def attribute_map(self) -> dict[str, str]:
        """As the config has it."""
        return dict(re.findall(r"[\"'](\w+)[\"']:\s*[\"'](\w+)[\"']", self.config_text("attribute_map")))


def statements_of(function: cst.FunctionDef) -> list[cst.BaseStatement]:
    """The body of a function without its docstring."""
    body = list(block(function.body).body)
    first = small(body[0])
    is_doc = isinstance(first, cst.Expr) and isinstance(first.value, cst.SimpleString | cst.ConcatenatedString)
    return body[1:] if is_doc else body


def with_chosen_classes(parent: Parent, body: list[cst.BaseStatement]) -> list[cst.BaseStatement]:
    """`kind = A if x else B; self.y = kind(config)` as `self.y = A(config) if x else B(config)`."""
    values: dict[str, cst.BaseExpression] = {}
    for statement in body:
        match small(statement):
            case cst.Assign(targets=[cst.AssignTarget(target=cst.Name(value=variable))], value=value):
                values[variable] = value
    called = {code(each.func) for statement in body for each in walk(statement) if isinstance(each, cst.Call)}
    if not called & values.keys():
        return body
    edits: dict[type[cst.CSTNode], Callable[[Any], cst.CSTNode | None]] = {}

    def put_in_place(node: cst.Name) -> cst.CSTNode:
        return parenthesised(rewrite(values[node.value], edits)) if node.value in values else node

    def call(node: cst.Call) -> cst.CSTNode:
        new = descend(node, edits)
        match new.func:
            case cst.IfExp(test=test, body=first, orelse=second):
                return chosen_call(new, test, first, second)
        return new

    def of_value(node: cst.Attribute | cst.Arg) -> cst.CSTNode:
        return node.with_changes(value=rewrite(node.value, edits))

    edits |= {cst.Name: put_in_place, cst.Call: call, cst.Attribute: of_value, cst.Arg: of_value}
    kept = [
        each
        for each in body
        if not isinstance(small(each), cst.Assign) or code(small(each).targets[0].target) not in values
    ]
    return [rewrite(each, edits) for each in kept]


def parenthesised(node: cst.BaseExpression) -> cst.BaseExpression:
    simple = isinstance(node, cst.Name | cst.Attribute | cst.Call | cst.Integer)
    return node if simple or node.lpar else node.with_changes(lpar=[cst.LeftParen()], rpar=[cst.RightParen()])


def chosen_call(
    call: cst.Call, test: cst.BaseExpression, first: cst.BaseExpression, second: cst.BaseExpression
) -> cst.BaseExpression:
    """`(A if x else B)(y)` as `A(y) if x else B(y)`; of a choice between constants, what is chosen."""
    one, two = (
        each if code(each) == "None" else call.with_changes(func=each.with_changes(lpar=[], rpar=[]))
        for each in (first, second)
    )
    if re.fullmatch(r"\(?(\d+) == \1\)?", code(test)):
        return one
    return cst.IfExp(test=test, body=one, orelse=two)


def parameters_of(function: cst.FunctionDef) -> list[str]:
    """The names of the parameters that are not stars, `self` left out."""
    parameters = function.params
    return [each.name.value for each in (*parameters.params, *parameters.kwonly_params)][1:]


def attributes_of(node: cst.CSTNode, owner: str = "self") -> list[str]:
    """`x` of each `owner.x` in the code, in order."""
    return [
        each.attr.value
        for each in walk(node)
        if isinstance(each, cst.Attribute) and isinstance(each.value, cst.Name) and each.value.value == owner
    ]


def names_of(node: cst.CSTNode) -> Iterator[str]:
    """The variables that the code reads or writes."""
    skipped: set[int] = set()
    for each in walk(node):
        if isinstance(each, cst.Attribute):
            skipped.add(id(each.attr))
        if isinstance(each, cst.Arg) and each.keyword:
            skipped.add(id(each.keyword))
        if isinstance(each, cst.Name) and id(each) not in skipped:
            yield each.value


CROSSED = "is_encoder_decoder|encoder_hidden_states"


def read_parent(model: str, models: Path) -> Parent:
    """The parent, or `DoesNotFit` where it is no decoder that is understood."""
    modeling = read_source(models / model / f"modeling_{model}.py")
    path = models / model / f"configuration_{model}.py"
    if not path.is_file():
        raise DoesNotFit([f"{model} has no configuration_{model}.py"])
    classes = {each.name: each for each in modeling.of_kind("class")}
    exported = set(exports(modeling) or ())
    causal = [name for name in classes if re.search("(ForCausalLM|LMHeadModel)$", name) and name in exported]
    if not causal:
        raise DoesNotFit([f"{modeling.path.name}: no class of a causal language model"])
    if "Attention" not in "".join(classes):
        raise OutsideScope([f"{modeling.path.name}: no attention of its own, which is out of scope"])
    draft = Parent(model, modeling, read_source(path), causal[0], "", "", "", "")
    try:
        parent = _completed(draft)
    except DoesNotFit as error:
        if re.search(CROSSED, modeling.text):
            raise crossed(draft) from error
        raise
    if any(re.search(CROSSED, modeling.definitions[name].code) for name in (*parent.layers, parent.base)):
        raise crossed(draft)
    return parent


def crossed(parent: Parent) -> OutsideScope:
    reason = "encoder-decoder models, and decoders with cross-attention, are out of scope"
    return OutsideScope([f"{parent.modeling.path.name}: {reason}"])


def _completed(draft: Parent) -> Parent:
    base, stack = _base_of(draft)
    layers = _layers_of(draft, base, stack)
    pretrained = next((name for name in draft.lineage(base) if name.endswith("PreTrainedModel")), "")
    if not pretrained:
        raise draft.refusal(draft.node(base), f"{base} has no ...PreTrainedModel of this file above it")
    config = _config_of(draft, base)
    for name in dict.fromkeys(names_of(draft.node(pretrained))):
        if other := _other_config(draft, name, pretrained, config):
            raise draft.refusal(
                draft.node(pretrained),
                f"{pretrained} initialises {name} too, which takes a {other}: a shard is written of models that take a "
                f"{config} alone. Write it by hand, with an `_init_weights` and a `config: {config}` of its own",
            )
    return replace(draft, base=base, layer=layers[0], pretrained=pretrained, config=config, layers=layers, stack=stack)


def _other_config(parent: Parent, name: str, pretrained: str, config: str) -> str:
    """The config that a model of the file takes, where it is another one; "" where it is this one, or the class no model."""
    if not parent.is_class(name) or name == pretrained or pretrained not in parent.lineage(name):
        return ""
    init = parent.method(name, "__init__")
    asked = [code(each.annotation.annotation) for each in init.params.params if each.annotation]
    return next((each for each in asked if each in parent.configuration.definitions and each != config), "")


def _base_of(parent: Parent) -> tuple[str, str]:
    """The class with the layers that the causal model builds, and its attribute that has them."""
    init = parent.method(parent.causal, "__init__")
    built = [code(each.func) for each in walk(init) if isinstance(each, cst.Call)]
    for name in filter(parent.is_class, built):
        if found := re.search(
            r"self\.(layers|h) = (?:torch\.)?nn\.ModuleList\(", parent.modeling.definitions[name].code
        ):
            return name, found[1]
    raise parent.refusal(init, f"{parent.causal} builds no decoder with a list of layers, `self.layers` or `self.h`")


def _layers_of(parent: Parent, base: str, stack: str) -> tuple[str, ...]:
    """The classes that the list of layers is built of, for which the constructor of the model calls for each layer."""
    init = parent.method(base, "__init__")
    if not any(
        isinstance(each, cst.Assign) and code(each.targets[0].target) == f"self.{stack}" for each in walk(init)
    ):
        raise parent.refusal(init, f"{base} has no `self.{stack}`")
    named = [each for each in walk(init) if isinstance(each, cst.Name) and parent.is_class(each.value)]
    tables = [
        parent.modeling.definitions[each.value].node
        for each in walk(init)
        if isinstance(each, cst.Name) and _is_table(parent, each.value)
    ]
    named += [
        each for table in tables for each in walk(table) if isinstance(each, cst.Name) and parent.is_class(each.value)
    ]
    layers = tuple(
        dict.fromkeys(each.value for each in named if "GradientCheckpointingLayer" in parent.bases(each.value))
    )
    if not layers:
        raise parent.refusal(init, f"{base} builds its layers of no class that is a GradientCheckpointingLayer")
    return layers


def _is_table(parent: Parent, name: str) -> bool:
    """Whether a constant of the file is what layers are looked up in."""
    found = parent.modeling.definitions.get(name)
    return found is not None and found.kind == "constant"


def _config_of(parent: Parent, base: str) -> str:
    """The config class that the model takes."""
    annotations = [
        code(each.annotation.annotation) for each in parent.method(base, "__init__").params.params if each.annotation
    ]
    for name in annotations:
        if name in parent.configuration.definitions:
            return name
    raise parent.refusal(parent.method(base, "__init__"), f"{base} does not say which config it takes")
