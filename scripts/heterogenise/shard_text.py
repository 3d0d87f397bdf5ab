"""The shard of a heterogeneous family, as a person would write it."""

import re
import textwrap
from collections.abc import Callable
from pathlib import Path

import libcst as cst

from ..modular_converter.output.formatting import format_files
from ..modular_converter.shards.shard import exports
from ..modular_converter.syntax.import_statements import aliases, bound_name, module_of
from ..modular_converter.syntax.tree import code, small, walk
from .config_text import config_class_text
from .family_plan import HEADS, Plan, window_question
from .layer_text import constructor_text, forward_text, indented, parameters_text, text_of
from .parent import DoesNotFit, Parent, parameters_of, statements_of


ROOT = "transformers_heterogeneous"
MASKS = "self.create_masks_for_generate(self.config, inputs_embeds, attention_mask, cache, position_ids)"
LOSS = """
def load_balancing_loss_func(
    gate_logits: tuple[torch.Tensor] | None,
    num_experts: int | list[int | None] | None = None,
    top_k: int | list[int | None] = 2,
    attention_mask: torch.Tensor | None = None,
) -> torch.Tensor:
    return modeling_heterogeneous.load_balancing_loss_func(gate_logits, num_experts, top_k, attention_mask)
"""


def shard_text(plan: Plan, names: Callable[[str], str], header: str) -> str:
    """
    The text of the shard.

    Args:
        names: the family's name of a class of the parent.
    """
    parent = plan.parent
    own = [
        *(class_text(each.parent.layer, names, constructor_text(each), forward_text(each)) for each in plan.every),
        pretrained_text(plan, names),
        model_text(plan, names),
        LOSS if plan.layered_loss else "",
        f"class {names(parent.causal)}({parent.causal}):\n    pass\n",
        *(f"class {names(name)}({name}):\n    pass\n" for name in other_heads(parent)),
    ]
    written = rename_classes("\n\n".join(own), parent, names)
    taken = {*parent.layers, parent.base, parent.pretrained, parent.causal, *other_heads(parent)}
    mentioned = [name for name in parts_named(parent, own) if name not in taken]
    mentioned = [each.name for each in parent.modeling.of_kind("class") if each.name in {*mentioned, *plan.rewritten}]
    parts = [
        rotary_text(plan, name, names)
        or rewritten_text(plan, name, names)
        or f"class {names(name)}({name}):\n    pass\n"
        for name in mentioned
    ]
    config = config_class_text(plan, names)
    body = "\n\n".join([config, *parts, written])
    exported = sorted(
        names(name) for name in (parent.config, parent.causal, parent.base, parent.pretrained, *other_heads(parent))
    )
    listed = "".join(f'    "{name}",\n' for name in exported)
    text = f"{header}{imports_text(plan, mentioned)}\n\n{body}\n\n__all__ = [\n{listed}]\n"
    key = Path("shard.py")
    formatted, findings = format_files({key: text})
    if findings:
        raise DoesNotFit([f"the shard would not be right: {each.message} (line {each.line})" for each in findings])
    return formatted[key]


def other_heads(parent: Parent) -> list[str]:
    """The other models of the parent's file that its decoder has heads for."""
    if len(exports(parent.configuration) or ()) > 1:
        return []  # of several models in one file
    taken = (parent.causal, parent.base, parent.pretrained)
    order = [each.name for each in parent.modeling.of_kind("class")]
    found = [name for name in exports(parent.modeling) or () if name not in taken and parent.is_class(name)]
    return sorted((name for name in found if parent.pretrained in parent.lineage(name)), key=order.index)


def class_text(name: str, names: Callable[[str], str], *methods: str) -> str:
    body = "\n".join(indented(method) for method in methods)
    return f"class {names(name)}({name}):\n{body}"


def pretrained_text(plan: Plan, names: Callable[[str], str]) -> str:
    parent = plan.parent
    lines = []
    mapping = parent.modeling.path.parents[2] / "conversion_mapping.py"
    model_type = parent.config_text("model_type").strip("\"'")
    known = mapping.read_text(encoding="utf-8") if mapping.is_file() else ""
    if like := next((each for each in (parent.causal, model_type) if f'"{each}"' in known), ""):
        lines.append(f'renamed_like = "{like}"  # tensors have other names in published checkpoints')
    if re.search(rf"self\.{parent.model} = {parent.base}\(", code(parent.method(parent.causal, "__init__"))):
        lines.append(
            "def renamings(self, config):  # checkpoints have the parent's name for the decoder\n"
            f'    renaming = WeightRenaming(r"^{parent.model}\\.", f"{{self.base_model_prefix}}.")\n'
            "    return [*super().renamings(config), renaming]"
        )
    body = indented("\n".join(lines or ["pass"]) + "\n")
    return f"class {names(parent.pretrained)}({parent.pretrained}, HeterogeneousPreTrainedModel):\n{body}"


def model_text(plan: Plan, names: Callable[[str], str]) -> str:
    """The model: what makes caches and masks in front of the parent's forward."""
    parent = plan.parent
    forward = parent.method(parent.base, "forward")
    parameters = parameters_of(forward)
    if missing := {"attention_mask", "cache", "use_cache", "inputs_embeds"} - set(parameters):
        raise parent.refusal(forward, f"{parent.base}.forward has no {' and no '.join(sorted(missing))}")
    returned = f" -> {code(forward.returns.annotation)}" if forward.returns else ""
    lines = ["cache = self.prepare_cache(cache, use_cache)\n"]
    if "mamba" in plan.mixer_types and "position_ids" in parameters:
        lines.append('self.refuse_packed_rows(position_ids, attention_mask, kwargs.get("seq_idx"))\n')
    if plan.masks == "window":
        lines.append(windowed_body(plan, forward))
    else:
        lines += masks_lines(plan, forward)
        lines.append(f"return super().forward({call_text(forward)})\n")
    method = f"def forward({parameters_text(forward)}){returned}:\n{indented(''.join(lines))}"
    layers = "@property\ndef layers(self):  # where families look for them\n" + f"    return self.{parent.stack}\n"
    return class_text(parent.base, names, *([layers] if parent.stack != "layers" else []), method)


def masks_lines(plan: Plan, forward: cst.FunctionDef) -> list[str]:
    if plan.masks == "one":
        return ['if isinstance(attention_mask, dict):\n    attention_mask = attention_mask["full_attention"]\n']
    if not plan.windows:
        return []
    embedded = re.search(r"inputs_embeds(?:: [\w.]+)? = (self\.\w+)\(input_ids\)", code(forward))
    if embedded is None:
        raise plan.parent.refusal(
            forward, f"{plan.parent.base}.forward embeds its tokens in a way that is not understood"
        )
    return [
        "if inputs_embeds is None and input_ids is not None:\n"
        f"    input_ids, inputs_embeds = None, {embedded[1]}(input_ids)\n",
        f"attention_mask = {MASKS}\n",
    ]


def call_text(forward: cst.FunctionDef) -> str:
    """The arguments that hand on what a forward was given."""
    positional = [each.name.value for each in forward.params.params][1:]
    keywords = [f"{each.name.value}={each.name.value}" for each in forward.params.kwonly_params]
    stars = [f"**{forward.params.star_kwarg.name.value}"] if forward.params.star_kwarg else []
    return ", ".join([*positional, *keywords, *stars])


def windowed_body(plan: Plan, forward: cst.FunctionDef) -> str:
    """The parent's forward, in which every window has a mask: the parent makes one for all layers."""
    lines = []
    for statement in statements_of(forward):
        text = text_of([statement])
        if text.strip().startswith("mask_function ="):
            continue
        if re.match(r"\s*causal_mask = mask_function\(", text):
            text = f"# diff with {plan.parent.model}: one mask a window\ncausal_mask = {MASKS}\n"
        lines.append(text)
    return "".join(lines)


def rotary_text(plan: Plan, name: str, names: Callable[[str], str]) -> str:
    """The rotary embedding reads a number of query heads, which may be a list."""
    if HEADS not in plan.sizes or not name.endswith("RotaryEmbedding"):
        return ""
    return textwrap.dedent(f"""\
        class {names(name)}({name}):
            def __init__(self, config: {names(plan.parent.config)}):
                config = config.per_layer_config[0]  # query heads may be a list
                super().__init__(config)
        """)


def rewritten_text(plan: Plan, name: str, names: Callable[[str], str]) -> str:
    """A mixer that asks whether the model has windows: the window of its config is that of its layer."""
    methods = []
    pattern = window_question(plan.parent.modeling.definitions[name].code) if name in plan.rewritten else ""
    for method in plan.rewritten.get(name, ()):
        node = plan.parent.method(name, method)
        body = answered(text_of(statements_of(node)), pattern, "config" if method == "__init__" else "self.config")
        body = body.replace("super().__init__()", "nn.Module.__init__(self)")
        returned = f" -> {code(node.returns.annotation)}" if node.returns else ""
        methods.append(f"def {method}({parameters_text(node)}){returned}:\n{indented(body)}")
    return rename_classes(class_text(name, names, *methods), plan.parent, names) if methods else ""


def answered(text: str, pattern: str, config: str) -> str:
    """A question for the model's window as one for layers that slide."""

    def question(found: re.Match[str]) -> str:
        word = "in" if "is not" in found[0] else "not in"
        return f'"sliding_attention" {word} {config}.layer_types'

    return re.sub(pattern, question, text)


def parts_named(parent: Parent, own: list[str]) -> list[str]:
    """The classes of the parent that the family names, and its rotary embedding, in the parent's order."""
    mentioned = set(re.findall(r"\w+", "".join(own)))
    built = {
        each.func.value
        for each in walk(parent.method(parent.base, "__init__"))
        if isinstance(each, cst.Call) and isinstance(each.func, cst.Name)
    }
    mentioned |= {name for name in built if name.endswith("RotaryEmbedding")}
    return [each.name for each in parent.modeling.of_kind("class") if each.name in mentioned]


def rename_classes(text: str, parent: Parent, names: Callable[[str], str]) -> str:
    """The family's names in the place of the parent's, but for the bases of classes and what transformers calls them."""
    classes = {each.name for each in parent.modeling.of_kind("class")}
    configs = {each.name for each in parent.configuration.of_kind("class")}

    def renamed(match: re.Match[str]) -> str:
        if match[0] in configs:
            return names(parent.config)
        return names(match[0]) if match[0] in classes else match[0]

    lines = text.split("\n")
    kept = re.compile(r"class |\s+renamed_like = ")
    return "\n".join(line if kept.match(line) else re.sub(r"\b[A-Z]\w+", renamed, line) for line in lines)


def imports_text(plan: Plan, parts: list[str]) -> str:
    """All that the shard may need; what it does not is dropped when it is formatted."""
    parent = plan.parent
    lines = [
        "import torch",
        "from torch import nn",
        "from transformers.configuration_utils import PreTrainedConfig",
        "from transformers.core_model_loading import WeightRenaming",
        "from huggingface_hub.dataclasses import strict",
    ]
    for source in (parent.modeling, parent.configuration):
        package = f"transformers.models.{parent.model}".split(".")
        for statement in source.of_kind("import"):
            for node in _imports(statement.node):
                lines += absolute_lines(node, package)
    module = f"transformers.models.{parent.model}"
    functions = [each.name for each in parent.modeling.of_kind("function") if each.name != "load_balancing_loss_func"]
    classes = [*parent.layers, parent.base, parent.pretrained, parent.causal, *other_heads(parent), *parts, *functions]
    lines.append(f"from {module}.modeling_{parent.model} import {', '.join(dict.fromkeys(classes))}")
    lines.append(f"from {module}.configuration_{parent.model} import {parent.config}")
    shared = "HeterogeneousPreTrainedConfig, HeterogeneousPreTrainedModel, modeling_heterogeneous"
    lines.append(f"from {ROOT} import {shared}")
    return "\n".join(dict.fromkeys(lines))


def _imports(node: cst.CSTNode) -> list[cst.Import | cst.ImportFrom]:
    found = small(node)
    return [found] if isinstance(found, cst.Import | cst.ImportFrom) else []


def absolute_lines(node: cst.Import | cst.ImportFrom, package: list[str]) -> list[str]:
    """An import of the parent's file as a file elsewhere writes it; none for its siblings."""
    if isinstance(node, cst.Import):
        return [code(node).strip()]
    level, module = len(node.relative), module_of(node)
    if level == 1 or (level == 2 and module):  # its own files, and other models
        return []
    base = ".".join(package[: len(package) - level + 1] + ([module] if module else [])) if level else module
    shown = [
        f"{each.evaluated_name}" + (f" as {each.evaluated_alias}" if each.evaluated_alias else "")
        for each in aliases(node)
    ]
    return [f"from {base} import {name}" for each, name in zip(aliases(node), shown, strict=True) if bound_name(each)]
