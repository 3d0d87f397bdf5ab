"""The decoder layer of a heterogeneous family, as text: its constructor and its forward with what a layer may lack in an `if`."""

import re
import textwrap
from collections.abc import Iterable

import libcst as cst

from ..modular_converter.syntax.tree import bare, code, same_code, small
from .blocks import Block, Layer, parts_of_sum, statements_needed
from .family_plan import Plan, chosen_by_layer, side_of_statement
from .parent import attributes_of, names_of, parameters_of


ABSENT = {"mixer": "self.has_mixer", "mlp": "self.has_mlp", "either": "self.has_mixer or self.has_mlp"}


def text_of(statements: Iterable[cst.BaseStatement]) -> str:
    return "".join(code(each) for each in statements)


def indented(text: str) -> str:
    return textwrap.indent(text, "    ")


def constructor_text(plan: Plan) -> str:
    """`__init__` of the layer: the parent's, in which modules are built where the layer has their block."""
    parent = plan.parent
    init = parent.method(parent.layer, "__init__")
    number = parameters_of(init)[1]
    body = [
        *([f"layer_idx = {number}\n"] if number != "layer_idx" else []),
        "config = config.per_layer_config[layer_idx]\n",
        "nn.Module.__init__(self)\n",
        'self.has_mixer = config.mixer_types[layer_idx] != "none"\n',
        'self.has_mlp = config.mlp_types[layer_idx] != "none"\n',
    ]
    if plan.kinds:
        body.append("mlp_type = config.mlp_types[layer_idx]\n")
    if plan.windows:
        body.append("self.sliding_window = config.sliding_window\n")
    if plan.windows and plan.masks == "window":
        body.append("self.layer_type = config.layer_types[layer_idx]\n")
    if "layer_idx" not in attributes_of(init):
        body.append("self.layer_idx = layer_idx\n")  # which `keep_layers` looks at
    before = ""
    for statement in parent.constructor():
        if code(statement).strip().startswith("super().__init__"):
            continue
        side = side_of_statement(statement, plan.sides)
        text = kinds_text(plan, bare(statement))
        if side and side == before:
            body[-1] += indented(text)
        else:
            body.append(f"if {ABSENT[side]}:\n{indented(text)}" if side else text)
        before = side
    signature = f"def __init__({parameters_text(init)}):\n"
    return signature + indented("".join(body))


def kinds_text(plan: Plan, statement: cst.BaseStatement) -> str:
    """A statement of the constructor, in which the list of MLPs decides in the place of the parent's condition."""
    chosen = chosen_by_layer(statement)
    if plan.kinds is None or chosen is None or not same_code(chosen[0], plan.kinds.condition):
        return code(statement)
    first, second = plan.kinds.first, plan.kinds.second
    one, two = (text_of([bare(each) for each in statements]) for statements in chosen[1:])
    if side_of_statement(statement, plan.sides) != "mlp":
        return f'if mlp_type == "{first}":\n{indented(one)}else:\n{indented(two)}'
    return f'if mlp_type == "{first}":\n{indented(one)}elif mlp_type == "{second}":\n{indented(two)}'


def parameters_text(function: cst.FunctionDef) -> str:
    return code(function.params).strip().rstrip(",")


def forward_text(plan: Plan) -> str:
    """`forward` of the layer: the parent's, with each block in an `if`."""
    forward = plan.parent.method(plan.parent.layer, "forward")
    body = _form_text(plan, plan.layer)
    if plan.layer.otherwise:
        body = f"if {plan.layer.flag}:\n{indented(body)}else:\n{indented(_form_text(plan, plan.layer.otherwise))}"
    returned = f" -> {code(forward.returns.annotation)}" if forward.returns else ""
    return f"def forward({parameters_text(forward)}){returned}:\n" + indented(body)


def _form_text(plan: Plan, layer: Layer) -> str:
    body = [f"{name} = None\n" for name in layer.left if re.fullmatch(r"\w+", name)]
    for part in layer.parts:
        if isinstance(part, Block):
            body.append(_shared_block(plan, part) if part.kind == "both" else _block(plan, part))
        else:
            body.append(text_of([part]))
    return "".join(body)


def _block(plan: Plan, part: Block) -> str:
    text = (mask_text(plan) if part.kind == "mixer" else "") + text_of(part.statements)
    return f"if {ABSENT[part.kind]}:\n{indented(text)}{_without(part)}\n"


def _without(part: Block) -> str:
    """What becomes of the stream where a block is absent, if anything."""
    return "" if part.without is None else f"else:\n    {part.stream} = {code(part.without)}\n"


def mask_text(plan: Plan) -> str:
    """What takes the mask of the layer's own window out of those of all windows."""
    if not plan.windows:
        return ""
    by_type = "attention_mask = attention_mask[self.layer_type]\n" if plan.masks == "window" else ""
    by_window = "attention_mask = attention_mask[self.sliding_window]\n"
    if by_type:
        by_type = f"if isinstance(attention_mask, dict):\n{indented(by_type)}"
    return f"{by_type}if isinstance(attention_mask, dict):  # one mask a window\n{indented(by_window)}"


def _shared_block(plan: Plan, part: Block) -> str:
    """A mixer beside an MLP: each is computed where the layer has it, and the sum is over what there is."""
    before, terms = parts_of_sum(part)
    needed = {
        kind: [
            id(each)
            for each in statements_needed({name for term, k in terms if k == kind for name in names_of(term)}, before)
        ]
        for kind in ("mixer", "mlp")
    }
    lines: list[str] = []
    at = ""
    for statement in before:
        kinds = [kind for kind, found in needed.items() if id(statement) in found]
        side = kinds[0] if len(kinds) == 1 else ""
        text = text_of([statement])
        if side and side == at:
            lines[-1] += indented(text)
        elif side:
            lines.append(f"if {ABSENT[side]}:\n{indented(mask_text(plan) * (side == 'mixer') + text)}")
        else:
            lines.append(text)
        at = side
    last = small(part.statements[-1])
    assert isinstance(last, cst.Assign)
    sums = [
        ("if self.has_mixer and self.has_mlp", {"", "mixer", "mlp"}),
        ("elif self.has_mixer", {"", "mixer"}),
        ("else", {"", "mlp"}),
    ]
    for condition, kept in sums:
        total = " + ".join(code(term) for term, kind in terms if kind in kept)
        lines.append(f"{condition}:\n{indented(f'{part.stream} = {total}')}\n")
    return f"if {ABSENT['either']}:\n{indented(''.join(lines))}{_without(part)}\n"
