"""What a heterogeneous family of a parent is to be: which parts a layer may lack, and which sizes may differ."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import libcst as cst

from ..modular_converter.sources.source import read_source
from ..modular_converter.syntax.tree import block, code, same_code, small, walk
from .blocks import Block, Layer, modules_built, parts_of_sum, read_layer, statements_needed
from .parent import DoesNotFit, Parent, attributes_of, names_of, parameters_of, statements_of
from .sizes import CONFIG, NONE, Reader, Uses, is_integer, read_field, reads_outside, statement_names


# Words of `layer_types` that the base class of families has a mixer for, and what it calls them
MIXERS = {"full_attention": "attention", "sliding_attention": "attention", "linear_attention": "mamba"}
OTHER_LAYER_TYPES = (
    *("chunked_attention", "compressed_sparse_attention", "heavily_compressed_attention", "minimax_m3_sparse"),
    *("indexed_attention", "conv", "hybrid", "hybrid_sliding", "reference_sliding_attention"),
)
DIVIDES = {("linear_num_key_heads", "linear_num_value_heads")}  # which kernels do, and no constructor
HEAD_DIMS = {"head_dim", "qk_nope_head_dim"}
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
    others: list["Plan"] = field(default_factory=list)  # of the other classes of layers, where there are several
    sizes: dict[str, tuple[str, tuple[str, ...]]] = field(default_factory=dict)
    related: list[tuple[str, str, str]] = field(default_factory=list)
    masks: str = ""
    layered_loss: bool = False  # experts differ, and the parent's loss is for one number of them
    deleted_checks: list[str] = field(default_factory=list)
    refused_flags: list[str] = field(default_factory=list)
    rewritten: dict[str, list[str]] = field(default_factory=dict)  # class -> methods that ask whether the model has windows
    notes: list[str] = field(default_factory=list)

    @property
    def every(self) -> list["Plan"]:
        return [self, *self.others]

    @property
    def windows(self) -> bool:
        return WINDOW in self.sizes

    @property
    def has_moe(self) -> bool:
        return "moe" in self.mlp_types


def plan_family(parent: Parent) -> Plan:
    """The plan, or `DoesNotFit` with what is not as expected."""
    refuse_layer_types(parent)
    plan, *others = [plan_layer(replace(parent, layer=name)) for name in parent.layers]
    plan.others = others
    if any(each.mlp_types != plan.mlp_types for each in others):
        raise parent.refusal(None, f"the layers {', '.join(parent.layers)} have MLPs of different kinds")
    plan.masks = form_of_masks(parent)
    find_relations(plan, find_sizes(plan))
    for each in others:
        each.sizes, each.masks = plan.sizes, plan.masks
    plan.layered_loss = has_common_loss(parent) and any("expert" in name for name in plan.sizes)
    return plan


def plan_layer(parent: Parent) -> Plan:
    """The plan of one class of layers."""
    layer = read_layer(parent)
    sides = sides_of_parts(parent, layer)
    kinds = kinds_of_mlp(parent, sides)
    mixers = ["attention", *(["mamba"] if '"linear_attention"' in parent.modeling.text + parent.configuration.text else [])]
    return Plan(parent, layer, sides, kinds, mixers, mlp_types(parent, sides, kinds))


def refuse_layer_types(parent: Parent) -> None:
    """Refuse kinds of layers that the base class of families has no mixer for."""
    for kind in OTHER_LAYER_TYPES:
        if f'"{kind}"' in parent.modeling.text + parent.configuration.text:
            reason = f"layers of type {kind!r} have no counterpart among a family's mixers, {sorted(set(MIXERS.values()))}"
            raise DoesNotFit([f"{parent.modeling.path.name}: {reason}"])


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
        attributes = {name for name in (*attributes_assigned(first), *attributes_assigned(second))}
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
        case cst.Assign(targets=targets, value=cst.IfExp(test=test, body=first, orelse=second)) if "layer_idx" in names_of(test):
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
    if unknown := functions - {"create_causal_mask", "create_sliding_window_causal_mask", "create_recurrent_attention_mask"}:
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


def find_sizes(plan: Plan) -> set[tuple[str, str]]:
    """Note the fields that may differ from layer to layer, and why others that size a sub-block may not; returns which
    fields divide others."""
    parent = plan.parent
    mixer, neutral = Uses(), Uses()
    by_kind = {kind: Uses() for kind in plan.mlp_types}
    for each in plan.every:
        mixer |= uses_of(each.parent, statements_on(each.parent, each.sides, "mixer"))
        neutral |= uses_of(each.parent, statements_on(each.parent, each.sides, "", "either"))
        for kind, uses in mlp_uses(each).items():
            by_kind[kind] |= uses
    inside = mixer.classes.union(*(uses.classes for uses in by_kind.values())) | {*parent.layers}
    outside = _reached_outside(parent, inside)
    asked = asked_in_constructor(plan)
    for name, node in parent.fields.items():
        kinds = tuple(kind for kind, uses in by_kind.items() if name in uses.reads)
        sizing = name in mixer.sizes or any(name in by_kind[kind].sizes for kind in kinds)
        if not is_integer(node) or not (sizing or name == WINDOW and plan.masks != "one"):
            continue
        reason = ""
        if name in mixer.reads and kinds:
            continue  # the residual stream's, or at least not one sub-block's
        if name in asked:
            reason = f"decides in {parent.layer} what is built ({parent.place(asked[name])})"
        elif name in neutral.reads:
            reason = f"is read for every layer in {parent.layer}"
        elif name in outside:
            reason = f"is read outside the layers too ({parent.place(outside[name][0])})"
        elif statement := unsafe_in_config(plan, name):
            reason = f"is computed with in {parent.config} ({parent.place(statement, parent.configuration)})"
        elif name == HEADS and (name not in mixer.inputs or KV_HEADS in mixer.reads and KV_HEADS not in parent.fields.keys() & mixer.sizes):
            reason = "does not size all that depends on it"
        if reason:
            plan.notes.append(f"TODO: {name} is one for all layers: it {reason}")
        else:
            plan.sizes[name] = ("mlp_types", kinds) if kinds else ("mixer_types", ("attention",))
    if WINDOW in plan.sizes:
        plan.rewritten = methods_that_ask_for_windows(parent, mixer.classes)
    if "mamba" in plan.mixer_types:
        _split_mixers(plan)
    if WINDOW not in plan.sizes and '"sliding_attention"' in parent.modeling.text + parent.configuration.text:
        reason = next((note.partition(": it ")[2] for note in plan.notes if f" {WINDOW} " in note), f"is no field of {parent.config}")
        raise parent.refusal(None, f"layers have windows, and in a family each layer has its own, but {WINDOW} {reason}")
    if HEADS in plan.sizes and not HEAD_DIMS & parent.fields.keys():
        del plan.sizes[HEADS]
        plan.notes.append(f"TODO: {HEADS} is one for all layers: {parent.config} has no head_dim of its own")
    return mixer.divides.union(*(uses.divides for uses in by_kind.values()))


def asked_in_constructor(plan: Plan) -> dict[str, cst.CSTNode]:
    """Field -> where the layer's constructor compares it, to decide for all layers alike what they have."""
    found: dict[str, cst.CSTNode] = {}
    for statement in (each for plan_ in plan.every for each in plan_.parent.constructor()):
        for each in walk(statement):
            if isinstance(each, cst.If | cst.IfExp) and "layer_idx" not in names_of(each.test):
                found |= {name: statement for node in walk(each.test) if (name := read_field(node))}
    return found


def methods_that_ask_for_windows(parent: Parent, classes: set[str]) -> dict[str, list[str]]:
    """Where mixers tell models that have windows from those without, by a field that in a family is each layer's."""
    found: dict[str, list[str]] = {}
    for name in sorted(classes):
        pattern = window_question(parent.modeling.definitions[name].code)
        for method, node in parent.methods(name).items():
            if isinstance(node, cst.FunctionDef) and re.search(pattern, code(node)):
                found.setdefault(name, []).append(method)
    return found


def window_question(text: str) -> str:
    """A pattern of `x.sliding_window is None` that is about the model: on an attribute too, where that is the field."""
    own = "self.sliding_window = config.sliding_window\n" in text
    return r"(?:self\.)?config\.sliding_window is (?:not )?None" + r"|self\.sliding_window is (?:not )?None" * own


def mlp_uses(plan: Plan) -> dict[str, Uses]:
    """Kind of MLP -> what its modules make of the config."""
    statements = statements_on(plan.parent, plan.sides, "mlp")
    if plan.kinds is None:
        return {plan.mlp_types[0]: uses_of(plan.parent, statements)}
    found = {plan.kinds.first: Uses(), plan.kinds.second: Uses()}
    for statement in statements:
        chosen = chosen_by_layer(statement)
        if chosen is None or not same_code(chosen[0], plan.kinds.condition):
            for uses in found.values():
                uses |= uses_of(plan.parent, [statement])
        else:
            found[plan.kinds.first] |= uses_of(plan.parent, chosen[1])
            found[plan.kinds.second] |= uses_of(plan.parent, chosen[2])
    return found


def _split_mixers(plan: Plan) -> None:
    """Of a parent with two kinds of mixers: which of them a size belongs to."""
    attending, others = set(), set()
    for each in plan.every:
        for statement in statements_on(each.parent, each.sides, "mixer"):
            for call in walk(statement):
                if isinstance(call, cst.Call) and plan.parent.is_class(code(call.func)):
                    uses = uses_of(plan.parent, [cst.SimpleStatementLine([cst.Expr(call)])])
                    (attending if _attends(plan.parent, uses) else others).update(uses.reads)
    for name, (types, _) in plan.sizes.items():
        if types == "mixer_types":
            kinds = ("attention",) * (name in attending) + ("mamba",) * (name in others)
            plan.sizes[name] = (types, kinds or ("attention",))


def _attends(parent: Parent, uses: Uses) -> bool:
    return any("eager_attention_forward" in parent.modeling.definitions[name].identifiers for name in uses.classes)


def _reached_outside(parent: Parent, inside: set[str]) -> dict[str, list[cst.CSTNode]]:
    """Field -> where the model reads it, its layers left out, in whatever it reaches."""
    definitions = parent.modeling.definitions
    reached, waiting = set(), [parent.base, parent.pretrained, parent.causal]
    while waiting:
        name = waiting.pop()
        if name not in reached and name not in inside:
            reached.add(name)
            waiting += [each for each in definitions[name].identifiers if each in definitions]
    found = reads_outside(parent, set(definitions) - reached)
    experts = has_common_loss(parent)
    kept = {}
    for name, nodes in found.items():
        nodes = [node for node in nodes if not _is_harmless(parent, name, node, experts)]
        if nodes:
            kept[name] = nodes
    return kept


def has_common_loss(parent: Parent) -> bool:
    """Whether the loss that balances experts is Mixtral's, which the base module of families has for each layer."""
    loss = parent.modeling.definitions.get("load_balancing_loss_func")
    path = parent.modeling.path.parents[1] / "mixtral" / "modeling_mixtral.py"
    theirs = read_source(path).definitions["load_balancing_loss_func"]
    return loss is not None and same_code(_without_docstring(loss.node), _without_docstring(theirs.node))


def _without_docstring(node: cst.CSTNode) -> cst.Module:
    assert isinstance(node, cst.FunctionDef)
    return cst.Module(statements_of(node))


def _is_harmless(parent: Parent, name: str, node: cst.CSTNode, experts: bool) -> bool:
    """Heads read where `head_dim` is asked for first, experts read for the loss, the window read for the masks."""
    if name == HEADS:
        return _is_guarded_by_head_dim(parent, node)
    if name == WINDOW:
        return any(each is node for each in walk(parent.method(parent.base, "forward")))
    in_causal = any(each is node for each in walk(parent.node(parent.causal)))
    return experts and in_causal and "expert" in name


def _is_guarded_by_head_dim(parent: Parent, node: cst.CSTNode) -> bool:
    for statement in parent.modeling.of_kind("class", "function"):
        for each in walk(statement.node):
            if isinstance(each, cst.BooleanOperation) and isinstance(each.operator, cst.Or):
                left = re.sub(r"\s", "", code(each.left))
                if re.fullmatch(r'getattr\(config,"head_dim",None\)|config\.head_dim', left) and any(n is node for n in walk(each)):
                    return True
    return False


def unsafe_in_config(plan: Plan, name: str) -> cst.CSTNode | None:
    """A statement of the config class that computes with a field, which may be a list; None where there is none."""
    names = {name, *(other for other, own in plan.parent.other_names.items() if own == name)}
    for piece, node in plan.parent.config_pieces.items():
        if not isinstance(node, cst.FunctionDef):
            continue
        for statement in statements_of(node):
            if not names & set(statement_names(statement)) or _only_copies(statement, names):
                continue
            if name == HEADS and "head_dim" in plan.parent.fields and "head_dim" in statement_names(statement):
                continue
            if flag := _only_where_flag(plan, statement, names):
                plan.refused_flags.append(flag)
                continue
            if _is_check_of_layers(plan, piece, node):
                if piece not in plan.deleted_checks:
                    plan.deleted_checks.append(piece)
                continue
            return statement
    return None


def _is_check_of_layers(plan: Plan, piece: str, node: cst.FunctionDef) -> bool:
    """Whether a method checks nothing else than heads and windows, which the base class checks for each layer."""
    checked = {WINDOW} | ({HEADS} if "head_dim" in plan.parent.fields else set())
    rest = [each for each in statements_of(node) if not checked & set(statement_names(each))]
    return piece.startswith("validate_") and all(code(each).strip().startswith("super().validate_") for each in rest)


def _only_where_flag(plan: Plan, statement: cst.BaseStatement, names: set[str]) -> str:
    """The field, off by default, that a statement asks for before it computes with others; nothing where it does not."""
    node = small(statement)
    if not isinstance(node, cst.If) or node.orelse:
        return ""
    found = re.fullmatch(r'(?:self\.|getattr\(self, ")(\w+)(?:", False\))?', code(node.test))
    flag = plan.parent.fields.get(found[1]) if found else None
    is_off = flag is not None and flag.value is not None and code(flag.value) in ("None", "False")
    return found[1] if found and is_off else ""


def _only_copies(statement: cst.BaseStatement, names: set[str]) -> bool:
    """Whether a statement hands a field on as it is, or asks whether it is None."""
    text = code(statement)
    for name in names:
        text = re.sub(rf"self\.{name}\b\s*(is not None|is None)", "", text)
        if "kwargs" in text:  # another name of the field
            text = re.sub(rf"(?m)^\s*self\.{name} = ", "", text)
        text = re.sub(rf"(?m)^\s*self\.\w+ = self\.{name}$|^\s*self\.{name} = self\.(\w+|{name} if self\.\w+ else (None|0))$", "", text)
    return not any(re.search(rf"self\.{name}\b", text) for name in names)


def find_relations(plan: Plan, divides: set[tuple[str, str]]) -> None:
    """Which sizes divide others, and which are at most others."""
    fields, order = plan.parent.fields, list(plan.parent.fields)
    divides = divides | DIVIDES
    for one, other in sorted(divides, key=lambda pair: [order.index(name) if name in order else -1 for name in pair]):
        if {one, other} & plan.sizes.keys() and {one, other} <= fields.keys() and other != "hidden_size":
            plan.related.append((one, "divides", other))
    top_k = [name for name in plan.sizes if re.search(r"top_?k|per_tok", name)]
    experts = [name for name in plan.sizes if re.fullmatch(r"(num|n)(_local|_routed)?_experts", name)]
    if top_k and experts:
        plan.related.append((top_k[0], "is at most", experts[0]))
    if experts and "n_group" in plan.parent.fields:
        plan.related.append(("n_group", "divides", experts[0]))


def condition_fields(kinds: Kinds) -> set[str]:
    return {name for each in walk(kinds.condition) if (name := read_field(each))}


__all__ = ["Kinds", "Plan", "condition_fields", "parameters_of", "plan_family"]
