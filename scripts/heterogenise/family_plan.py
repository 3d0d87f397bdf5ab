"""What a heterogeneous family of a parent is to be: which parts a layer may lack, and which sizes may differ."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

import libcst as cst

from ..modular_converter.syntax.tree import block, code, small, walk
from .blocks import Block, Layer, modules_built, parts_of_sum, read_layer, statements_needed
from .parent import Parent, attributes_of, names_of
from .sizes import CONFIG, NONE, Reader, Uses, read_field


# Words of `layer_types`, and what a family calls the mixer of such a layer: "mamba" is every mixer with a state
MIXERS = {
    **dict.fromkeys(("full_attention", "sliding_attention", "chunked_attention"), "attention"),
    **dict.fromkeys(("indexed_attention", "minimax_m3_sparse"), "attention"),
    **dict.fromkeys(("linear_attention", "conv"), "mamba"),
}
KNOWN_WORDS = {"full_attention", "sliding_attention", "linear_attention"}  # to the base class of families
BOTH_IN_ONE = "attend and keep a state in one; in a family a mixer does one or the other"
COMPRESSED = "attend to what they compress in a cache of their own, which a family's masks do not know"
OTHER_LAYER_TYPES = {
    "hybrid": BOTH_IN_ONE,
    "hybrid_sliding": BOTH_IN_ONE,
    "compressed_sparse_attention": COMPRESSED,
    "heavily_compressed_attention": COMPRESSED,
    "reference_sliding_attention": "attend to other tokens than their own, which a family's masks do not know",
}
HEADS, KV_HEADS, WINDOW = "num_attention_heads", "num_key_value_heads", "sliding_window"


@dataclass(frozen=True)
class Kinds:
    """Two kinds of MLP that the parent chooses between by layer: `first` where the condition holds, else `second`."""

    condition: cst.BaseExpression
    first: str
    second: str


@dataclass
class Plan:
    """Everything that the shard says."""

    parent: Parent
    layer: Layer
    sides: dict[str, str]  # attribute of the layer -> "mixer", "mlp", or "either" where the absence of one leaves it
    kinds: Kinds | None
    mixer_types: list[str]
    mlp_types: list[str]
    words: dict[str, str]  # upstream's for its layers -> the mixer
    others: list["Plan"] = field(default_factory=list)  # of the other classes of layers, where there are several
    sizes: dict[str, tuple[str, tuple[str, ...]]] = field(default_factory=dict)
    related: list[tuple[str, str, str]] = field(default_factory=list)
    masks: str = ""
    layered_loss: bool = False  # experts differ, and the parent's loss is for one number of them
    deleted_checks: list[str] = field(default_factory=list)
    refused_flags: list[str] = field(default_factory=list)
    rewritten: dict[str, list[str]] = field(
        default_factory=dict
    )  # class -> methods that ask whether the model has windows
    notes: list[str] = field(default_factory=list)

    @property
    def every(self) -> list["Plan"]:
        return [self, *self.others]

    @property
    def windows(self) -> bool:
        return WINDOW in self.sizes

    @property
    def has_own_words(self) -> bool:
        """Whether there are kinds of layers that the base class of families does not know, or one window for all that slide."""
        return not self.words.keys() <= KNOWN_WORDS or ("sliding_attention" in self.words and not self.windows)

    @property
    def state_word(self) -> str:
        """Upstream's word for layers that keep a state."""
        return next((word for word, mixer in self.words.items() if mixer == "mamba"), "")

    @property
    def has_moe(self) -> bool:
        return "moe" in self.mlp_types


def plan_layer(parent: Parent) -> Plan:
    """The plan of one class of layers."""
    layer = read_layer(parent)
    sides = sides_of_parts(parent, layer)
    kinds = kinds_of_mlp(parent, sides)
    words = {word: mixer for word, mixer in MIXERS.items() if f'"{word}"' in parent.text}
    mixers = ["attention", *(["mamba"] if "mamba" in words.values() else [])]
    return Plan(parent, layer, sides, kinds, mixers, mlp_types(parent, sides, kinds), words)


def sides_of_parts(parent: Parent, layer: Layer) -> dict[str, str]:
    """Which block each module of the layer belongs to."""
    built = modules_built(parent)
    found: dict[str, str] = {}
    for part in layer.blocks:
        for name in sorted(part.uses & built.keys()):
            side = part.kind if part.kind != "both" else _side_in(part, name)
            found[name] = side if found.get(name, side) == side else "either"
    return found


def _side_in(block_: Block, name: str) -> str:
    """Of a mixer beside an MLP: which of them needs a part."""
    before, terms = parts_of_sum(block_)
    needing = set()
    for term, kind in terms:
        statements = [*statements_needed(set(names_of(term)), before), term] if kind else []
        if any(name in attributes_of(each) for each in statements):
            needing.add(kind)
    return needing.pop() if len(needing) == 1 else "either"


def kinds_of_mlp(parent: Parent, sides: dict[str, str]) -> Kinds | None:
    """The choice between two MLPs by layer, where the constructor of the layer makes one."""
    found: list[tuple[cst.BaseStatement, Kinds]] = []
    for statement in parent.constructor():
        chosen = chosen_by_layer(statement)
        if chosen is None:
            continue
        condition, first, second = chosen
        attributes = {*attributes_assigned(first), *attributes_assigned(second)}
        if not {sides.get(name) for name in attributes} & {"mlp"}:
            continue
        kinds = Kinds(condition, _kind_of(parent, first), _kind_of(parent, second))
        if kinds.first != kinds.second:
            found.append((statement, kinds))
        elif not all("norm" in name for name in attributes):
            reason = f"{parent.layer} chooses by layer between two MLPs that are both {kinds.first!r}"
            raise parent.refusal(statement, reason)
    if len(found) > 1 or (found and _read_in_mlp(parent, sides, found[0][1].condition)):
        raise parent.refusal(found[0][0], f"{parent.layer}: the condition of the MLP's kind is read in the MLPs too")
    return found[0][1] if found else None


def _read_in_mlp(parent: Parent, sides: dict[str, str], condition: cst.BaseExpression) -> bool:
    """Whether lists of the config that a condition reads are read in the MLPs too."""
    lists = {name for each in walk(condition) if (name := read_field(each)) and f".{name}[" in code(condition)}
    classes = uses_of(parent, statements_on(parent, sides, "mlp")).classes
    texts = [parent.modeling.definitions[name].code for name in classes]
    return any(re.search(rf"config\.{name}\b", text) is not None for text in texts for name in lists)


def chosen_by_layer(
    statement: cst.BaseStatement,
) -> tuple[cst.BaseExpression, list[cst.BaseStatement], list[cst.BaseStatement]] | None:
    """(condition, one, other) of a statement of a constructor that depends on `layer_idx`."""
    match small(statement):
        case cst.If(test=test, body=body, orelse=cst.Else(body=other)) if "layer_idx" in names_of(test):
            return test, list(block(body).body), list(block(other).body)
        case cst.Assign(targets=targets, value=cst.IfExp(test=test, body=first, orelse=second)) if (
            "layer_idx" in names_of(test)
        ):
            one, two = (
                cst.SimpleStatementLine([cst.Assign(targets=targets, value=value)]) for value in (first, second)
            )
            return test, [one], [two]
    return None


def attributes_assigned(statements: Sequence[cst.BaseStatement]) -> list[str]:
    """`x` of each `self.x = ...`."""
    return [
        target.target.attr.value
        for statement in statements
        for each in walk(statement)
        if isinstance(each, cst.Assign)
        for target in each.targets
        if isinstance(target.target, cst.Attribute) and code(target.target.value) == "self"
    ]


def _kind_of(parent: Parent, statements: Sequence[cst.CSTNode]) -> str:
    """ "moe" where what is built has experts, else "dense"."""
    uses = uses_of(parent, statements)
    texts = [parent.modeling.definitions[name].code for name in sorted(uses.classes)]
    return "moe" if any(re.search(r"topk|self\.experts\b", text) for text in texts) else "dense"


def uses_of(parent: Parent, statements: Sequence[cst.CSTNode]) -> Uses:
    """What statements of the layer's constructor make of the config."""
    uses, reader = Uses(), Reader(parent)
    known = {"config": CONFIG, "layer_idx": NONE}
    reader._statements(statements, known, uses)
    return uses


def mlp_types(parent: Parent, sides: dict[str, str], kinds: Kinds | None) -> list[str]:
    if kinds:
        return [kinds.first, kinds.second]
    return [_kind_of(parent, statements_on(parent, sides, "mlp"))]


def statements_on(parent: Parent, sides: dict[str, str], *wanted: str) -> list[cst.BaseStatement]:
    """The statements of the layer's constructor that build parts of one side."""
    return [
        statement
        for statement in parent.constructor()
        if side_of_statement(statement, sides) in wanted and "super().__init__" not in code(statement)
    ]


def side_of_statement(statement: cst.BaseStatement, sides: dict[str, str]) -> str:
    """The side that a statement of the constructor is on; nothing where every layer needs it."""
    found = {sides.get(name, "") for name in attributes_assigned([statement])}
    return found.pop() if len(found) == 1 else ""


def form_of_masks(parent: Parent) -> str:
    """How the model makes its masks: "dict" by layer type, "one", or "window" where one field decides between two."""
    forward = parent.method(parent.base, "forward")
    text = code(forward)
    functions = set(re.findall(r"\bcreate_\w*mask\w*", text))
    if any(each.name == "create_masks_for_generate" for each in _own_methods(parent)):
        where = next(each for each in _own_methods(parent) if each.name == "create_masks_for_generate")
        raise parent.refusal(where, "masks of its own for `generate`, which a family's take the place of")
    if unknown := functions - {
        "create_causal_mask",
        "create_sliding_window_causal_mask",
        "create_chunked_causal_mask",
        "create_recurrent_attention_mask",
    }:
        raise parent.refusal(forward, f"{parent.base}.forward makes its masks with {sorted(unknown)}")
    if re.search(r"isinstance\(\(?\s*causal_mask_mapping := attention_mask\)?, dict\)", text):
        return "dict"
    if functions == {"create_causal_mask", "create_sliding_window_causal_mask"} and "mask_function =" in text:
        return "window"
    if functions == {"create_causal_mask"}:
        return "one"
    raise parent.refusal(forward, f"{parent.base}.forward does not make its masks in a way that is understood")


def _own_methods(parent: Parent) -> list[cst.FunctionDef]:
    classes = (parent.base, parent.pretrained, parent.causal)
    found = [node for name in classes for node in parent.methods(name).values()]
    return [node for node in found if isinstance(node, cst.FunctionDef)]


def window_question(text: str) -> str:
    """A pattern of `x.sliding_window is None` that is about the model: on an attribute too, where that is the field."""
    own = "self.sliding_window = config.sliding_window\n" in text
    return r"(?:self\.)?config\.sliding_window is (?:not )?None" + r"|self\.sliding_window is (?:not )?None" * own


def condition_fields(kinds: Kinds) -> set[str]:
    return {name for each in walk(kinds.condition) if (name := read_field(each))}
