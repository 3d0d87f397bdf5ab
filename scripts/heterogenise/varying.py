"""Which sizes may differ from layer to layer, which are bound to others, and why the rest may not."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import libcst as cst

from ..modular_converter.sources.source import read_source
from ..modular_converter.syntax.tree import code, same_code, small, walk
from .family_plan import HEADS, KV_HEADS, WINDOW, Plan, chosen_by_layer, statements_on, uses_of, window_question
from .parent import Parent, names_of, statements_of
from .sizes import Uses, is_integer, read_field, reads_outside, statement_names


DIVIDES = {("linear_num_key_heads", "linear_num_value_heads")}  # which kernels do, and no constructor
HEAD_DIMS = {"head_dim", "qk_nope_head_dim"}


@dataclass
class _Read:
    """What the parts of all layers make of the config, and what is made of it elsewhere."""

    mixer: Uses
    by_kind: dict[str, Uses]
    neutral: Uses
    outside: dict[str, list[cst.CSTNode]]
    asked: dict[str, cst.CSTNode]


def find_sizes(plan: Plan) -> Uses:
    """Note the fields that may differ from layer to layer, and why others that size a sub-block may not; returns what the
    sub-blocks make of the config."""
    read = _read_config(plan)
    for name, node in plan.parent.fields.items():
        kinds = tuple(kind for kind, uses in read.by_kind.items() if name in uses.reads)
        if name in read.mixer.reads and kinds:
            continue  # the residual stream's, or at least not one sub-block's
        if not is_integer(node) or not _is_size(plan, read, name, kinds):
            continue
        if reason := _reason_against(plan, read, name):
            plan.notes.append(f"TODO: {name} is one for all layers: it {reason}")
        else:
            plan.sizes[name] = ("mlp_types", kinds) if kinds else ("mixer_types", ("attention",))
    if WINDOW in plan.sizes:
        plan.rewritten = methods_that_ask_for_windows(plan.parent, read.mixer.classes)
    if "mamba" in plan.mixer_types:
        _split_mixers(plan)
    _refuse_windows_of_the_model(plan)
    if HEADS in plan.sizes and not HEAD_DIMS & plan.parent.fields.keys():
        del plan.sizes[HEADS]
        plan.notes.append(f"TODO: {HEADS} is one for all layers: {plan.parent.config} has no head_dim of its own")
    inside = Uses()
    for uses in (read.mixer, *read.by_kind.values()):
        inside |= uses
    return inside


def _read_config(plan: Plan) -> _Read:
    mixer, neutral = Uses(), Uses()
    by_kind = {kind: Uses() for kind in plan.mlp_types}
    for each in plan.every:
        mixer |= uses_of(each.parent, statements_on(each.parent, each.sides, "mixer"))
        neutral |= uses_of(each.parent, statements_on(each.parent, each.sides, "", "either"))
        for kind, uses in mlp_uses(each).items():
            by_kind[kind] |= uses
    inside = mixer.classes.union(*(uses.classes for uses in by_kind.values())) | {*plan.parent.layers}
    return _Read(mixer, by_kind, neutral, _reached_outside(plan.parent, inside), asked_in_constructor(plan))


def _is_size(plan: Plan, read: _Read, name: str, kinds: Sequence[str]) -> bool:
    """Whether a field sizes something in a sub-block; a window is the masks' too."""
    if name == WINDOW:
        return plan.masks != "one"
    return name in read.mixer.sizes or any(name in read.by_kind[kind].sizes for kind in kinds)


def _reason_against(plan: Plan, read: _Read, name: str) -> str:
    """Why a size cannot differ from layer to layer; nothing where it can."""
    parent = plan.parent
    if name in read.asked:
        return f"decides in {parent.layer} what is built ({parent.place(read.asked[name])})"
    if name in read.neutral.reads:
        return f"is read for every layer in {parent.layer}"
    if name in read.outside:
        return f"is read outside the layers too ({parent.place(read.outside[name][0])})"
    if statement := unsafe_in_config(plan, name):
        return f"is computed with in {parent.config} ({parent.place(statement, parent.configuration)})"
    text = "".join(parent.modeling.definitions[each].code for each in read.mixer.classes)
    other_keys = re.search(rf"config\.{KV_HEADS} \* \d", text)  # than the field says, which would have to divide too
    keys_follow = (KV_HEADS not in read.mixer.reads or KV_HEADS in read.mixer.sizes) and not other_keys
    if name == HEADS and not (HEADS in read.mixer.inputs and keys_follow):
        return "does not size all that depends on it"
    return ""


def _refuse_windows_of_the_model(plan: Plan) -> None:
    """Refuse a parent whose layers slide by a window that cannot be each layer's, where no list says which layers slide."""
    parent = plan.parent
    slides = "sliding_attention" in plan.words
    if WINDOW in plan.sizes or (slides and plan.masks == "dict") or (not slides and WINDOW not in parent.fields):
        return
    known = (note.partition(": it ")[2] for note in plan.notes if f" {WINDOW} " in note)
    other = "is not what the masks are made with" if WINDOW in parent.fields else f"is no field of {parent.config}"
    reason = next(known, other)
    raise parent.refusal(None, f"layers have windows, and in a family each layer has its own, but {WINDOW} {reason}")


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
    attending: set[str] = set()
    others: set[str] = set()
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


def _without_docstring(node: cst.CSTNode) -> cst.CSTNode:
    assert isinstance(node, cst.FunctionDef)
    return node.with_changes(
        body=cst.IndentedBlock(statements_of(node)), params=cst.Parameters(), returns=None, decorators=()
    )


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
                if re.fullmatch(r'getattr\(config,"head_dim",None\)|config\.head_dim', left) and any(
                    n is node for n in walk(each)
                ):
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
        text = re.sub(
            rf"(?m)^\s*self\.\w+ = self\.{name}$|^\s*self\.{name} = self\.(\w+|{name} if self\.\w+ else (None|0))$",
            "",
            text,
        )
    return not any(re.search(rf"self\.{name}\b", text) for name in names)


def find_relations(plan: Plan, inside: Uses) -> None:
    """Which sizes divide others, and which are at most others."""
    order = list(plan.parent.fields)
    fields = {name for name, node in plan.parent.fields.items() if is_integer(node)}
    for relation, pairs in (("divides", inside.divides | DIVIDES), ("is at most", inside.splits)):
        for pair in sorted(pairs, key=lambda pair: [order.index(name) if name in order else -1 for name in pair]):
            if {*pair} & plan.sizes.keys() and {*pair} <= fields and pair[1] != "hidden_size":
                plan.related.append((pair[0], relation, pair[1]))
    top_k = [name for name in plan.sizes if re.search(r"top_?k|per_tok", name)]
    experts = [name for name in plan.sizes if re.fullmatch(r"(num|n)(_local|_routed)?_experts", name)]
    if top_k and experts:
        plan.related.append((top_k[0], "is at most", experts[0]))
    if experts and "n_group" in plan.parent.fields:
        plan.related.append(("n_group", "divides", experts[0]))
