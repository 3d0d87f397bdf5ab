"""What a model of transformers consists of, read off its files: config, decoder layer, model and heads."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import libcst as cst

from ..modular_converter.shards.shard import exports
from ..modular_converter.sources.members import Pieces, pieces_of
from ..modular_converter.sources.source import SourceFile, read_source
from ..modular_converter.syntax.tree import block, code, small, walk


class DoesNotFit(Exception):
    """Which part of a parent is not as expected, with its file and line."""

    def __init__(self, reasons: list[str]) -> None:
        self.reasons = reasons
        super().__init__("\n".join(reasons))


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
        """The `attribute_map` of the config: other name -> field."""
        return dict(re.findall(r"[\"'](\w+)[\"']:\s*[\"'](\w+)[\"']", self.config_text("attribute_map")))


def statements_of(function: cst.FunctionDef) -> list[cst.BaseStatement]:
    """The body of a function without its docstring."""
    body = list(block(function.body).body)
    first = small(body[0])
    is_doc = isinstance(first, cst.Expr) and isinstance(first.value, cst.SimpleString | cst.ConcatenatedString)
    return body[1:] if is_doc else body


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


def read_parent(model: str, models: Path) -> Parent:
    """The parent, or `DoesNotFit` where it is no decoder that is understood."""
    modeling = read_source(models / model / f"modeling_{model}.py")
    path = models / model / f"configuration_{model}.py"
    if not path.is_file():
        raise DoesNotFit([f"{model} has no configuration_{model}.py"])
    configuration = read_source(path)
    classes = {each.name: each for each in modeling.of_kind("class")}
    exported = set(exports(modeling) or ())
    causal = [name for name in classes if re.search("(ForCausalLM|LMHeadModel)$", name) and name in exported]
    if not causal:
        raise DoesNotFit([f"{modeling.path.name}: no class of a causal language model"])
    draft = Parent(model, modeling, configuration, causal[0], "", "", "", "")
    if re.search("is_encoder_decoder|encoder_hidden_states", modeling.text):
        raise DoesNotFit([f"{modeling.path.name}: encoder-decoder models, and decoders with cross-attention, are out of scope"])
    base = _base_of(draft)
    layer = _layer_of(draft, base)
    pretrained = next((name for name in draft.lineage(base) if name.endswith("PreTrainedModel")), "")
    if not pretrained:
        raise draft.refusal(draft.node(base), f"{base} has no ...PreTrainedModel of this file above it")
    config = _config_of(draft, base)
    return Parent(model, modeling, configuration, causal[0], base, layer, pretrained, config)


def _base_of(parent: Parent) -> str:
    """The class that the causal model builds as `self.model`."""
    init = parent.method(parent.causal, "__init__")
    for each in walk(init):
        match each:
            case cst.Assign(
                targets=[cst.AssignTarget(target=cst.Attribute(value=cst.Name("self"), attr=cst.Name("model")))],
                value=cst.Call(func=cst.Name(value=name)),
            ) if parent.is_class(name):
                return name
    raise parent.refusal(init, f"{parent.causal} does not build its decoder as `self.model = ...`")


def _layer_of(parent: Parent, base: str) -> str:
    """The class that `self.layers = nn.ModuleList(...)` builds one of for each layer."""
    init = parent.method(base, "__init__")
    for each in walk(init):
        if isinstance(each, cst.Assign) and code(each.targets[0].target) == "self.layers":
            match each.value:
                case cst.Call(
                    func=cst.Attribute(attr=cst.Name("ModuleList")),
                    args=[
                        cst.Arg(
                            value=cst.ListComp(elt=cst.Call(func=cst.Name(value=name)))
                            | cst.GeneratorExp(elt=cst.Call(func=cst.Name(value=name)))
                        )
                    ],
                ) if parent.is_class(name):
                    return name
            raise parent.refusal(each, f"{base} builds its layers otherwise than as one class in a ModuleList")
    raise parent.refusal(init, f"{base} has no `self.layers`")


def _config_of(parent: Parent, base: str) -> str:
    """The config class that the model takes."""
    annotations = [code(each.annotation.annotation) for each in parent.method(base, "__init__").params.params if each.annotation]
    for name in annotations:
        if name in parent.configuration.definitions:
            return name
    raise parent.refusal(parent.method(base, "__init__"), f"{base} does not say which config it takes")
