"""The config of a heterogeneous family, as text: its fields as lists, and what the parent decides by layer as lists too."""

import re
import textwrap
from collections.abc import Callable, Sequence

import libcst as cst

from ..modular_converter.syntax.tree import bare, code, small, walk
from .blocks import assigned_names
from .family_plan import HEADS, KV_HEADS, WINDOW, Plan, condition_fields
from .layer_text import indented
from .parent import Parent, attributes_of, names_of, statements_of
from .sizes import literal_default


DEPTH = "num_hidden_layers"
SAID = {
    HEADS: "Query heads. As a list it needs an explicit `head_dim`.",
    KV_HEADS: "Key and value heads; each entry divides the layer's query heads.",
    WINDOW: "How many positions, its own included, a token attends to. `None` is full attention.",
    "intermediate_size": "Width of the MLP.",
    "moe_intermediate_size": "Width of each expert.",
    "num_experts_per_tok": "Experts that each token goes to, at most as many as the layer has.",
}
WORDS = {
    (r"(num|n)(_local|_routed)?_experts", "Experts."),
    (r"\w*shared_expert\w*_size|shared_intermediate_size", "Width of the shared expert."),
    (r"\w*shared_experts?", "Shared experts, in widths of one expert."),
    (r"\w+_lora_rank", "Rank of what is projected down and up again."),
    (r"\w*(state_size|d_state)", "State of the mamba layers."),
}
NUMBERS = (
    *("embedding_multiplier", "attention_multiplier", "residual_multiplier", "logits_scaling", "swiglu_limit"),
    *("routed_scaling_factor", "swiglu_alpha", "router_aux_loss_coef", "initializer_range", "rms_norm_eps"),
)


def config_class_text(plan: Plan, names: Callable[[str], str]) -> str:
    """The class of the config."""
    parent = plan.parent
    parts = [
        docstring(plan, names),
        attributes(plan),
        fields(plan),
        post_init(plan),
        block_types(plan.parent),
        rope(plan),
        numbers(plan),
        window_flag(plan),
        *(deletion(each) for each in plan.deleted_checks),
    ]
    body = "\n\n".join(part for part in parts if part)
    return (
        f"@strict\nclass {names(parent.config)}({parent.config}, HeterogeneousPreTrainedConfig):\n{indented(body)}\n"
    )


def docstring(plan: Plan, names: Callable[[str], str]) -> str:
    """What the config says of itself: which of its fields may be lists."""
    mixers = ", ".join(f'`"{kind}"`' for kind in plan.mixer_types)
    mlps = ", ".join(f'`"{kind}"`' for kind in plan.mlp_types)
    entries = [
        (
            "mixer_types",
            "`list[str]`, *optional*",
            f'What mixes tokens in each layer: {mixers} or `"none"`.'
            + " Follows `layer_types` by default." * (len(plan.mixer_types) > 1),
        ),
        (
            "mlp_types",
            "`list[str]`, *optional*",
            f'The feed-forward block of each layer: {mlps} or `"none"`.'
            + " As the parent's by default." * bool(plan.kinds),
        ),
    ]
    for name in plan.sizes:
        default = literal_default(plan.parent.fields[name])
        ending = f"defaults to {default}" if default not in ("", "None") else "*optional*"
        entries.append((name, f"`int` or `list[int | None]`, {ending}", said(name, plan.sizes[name][1])))
    lines = "".join(
        f"    {name} ({kind}):\n{textwrap.indent(textwrap.fill(text, 107), ' ' * 8)}\n" for name, kind, text in entries
    )
    first = textwrap.fill(
        f"Config of a {plan.parent.config.removesuffix('Config')} whose layers may differ. All fields of [`{plan.parent.config}`] "
        "keep their meaning; those below may be lists with one entry a layer, `None` where the layer has no such sub-block. "
        "A scalar means every layer.",
        115,
    )
    return f'r"""\n{first}\n\nArgs:\n{lines}\nRaises:\n    HeterogeneousConfigError: names every layer and size that is wrong, with what is allowed.\n"""'


def said(name: str, kinds: Sequence[str]) -> str:
    """What a size is, in a line."""
    if name == "intermediate_size" and "moe" in kinds:
        name = "moe_intermediate_size"
    return SAID.get(name) or next(
        (text for pattern, text in sorted(WORDS) if re.fullmatch(pattern, name)), f"`{name}` of the layer."
    )


def attributes(plan: Plan) -> str:
    """What the base class of configs asks of a family."""
    sizes = "".join(f'    "{name}": ("{types}", {having!r}),\n' for name, (types, having) in plan.sizes.items())
    lines = [*(f"# {note}" for note in plan.notes), f"per_layer_sizes = {{\n{sizes}}}"]
    lines.append(f"supported_mixer_types = {(*plan.mixer_types, 'none')!r}")
    lines.append(f"supported_mlp_types = {(*plan.mlp_types, 'none')!r}")
    if known := known_fields(plan.parent):
        lines.append(f"known_fields = {known!r}")
    if plan.has_own_words:
        lines.append(f"mixers_by_layer_type = {plan.words!r}")
    renamed = {"layer_types", DEPTH} & plan.parent.other_names.keys()
    kept = {other: own for other, own in plan.parent.other_names.items() if other not in renamed}
    depth = {plan.parent.other_names[DEPTH]: DEPTH} if DEPTH in renamed else {}
    if kept | depth != plan.parent.attribute_map:
        lines.append(f"attribute_map = {kept | depth!r}")
    if len(plan.mixer_types) > 1:
        skipped = ", ".join(f'"{kind}": {{"mixer_types": ("{kind}",)}}' for kind in plan.mixer_types)
        lines.append(f'skippable = {{{skipped}, "mlp": {{"mlp_types": {tuple(plan.mlp_types)!r}}}}}')
    lines.append(f"related_sizes = {tuple(plan.related)!r}")
    lines.append(f"sharded_sizes = {sharded(plan)!r}")
    if WINDOW not in plan.sizes:
        lines.append("optional_per_layer_sizes = ()")
    lines.append(f"compatible_model_types = ({plan.parent.config_text('model_type')},)")
    return "\n".join(lines)


def known_fields(parent: Parent) -> tuple[str, ...]:
    """What the parent's config takes out of keywords, computes or calls otherwise, and that is no field of it."""
    found = {*parent.other_names.values()}
    if node := parent.config_pieces.get("__post_init__"):
        found |= {*re.findall(r"kwargs\.(?:get|pop)\(\s*[\"'](\w+)", code(node)), *attributes_set(node)}
    return tuple(sorted(found - parent.fields.keys() - parent.other_names.keys()))


def sharded(plan: Plan) -> dict[str, tuple[str, ...]]:
    """Sizes that the parent's plans split over ranks, as far as they name them."""
    parent = plan.parent
    heads = tuple(name for name in (HEADS, KV_HEADS) if name in parent.fields)
    experts = tuple(name for name in plan.sizes if re.fullmatch(r"(num|n)(_local|_routed)?_experts", name))
    found = {}
    if '_proj": "colwise"' in parent.config_text("base_model_tp_plan").replace("'", '"') and heads:
        found["tp_size"] = heads
    if parent.config_text("base_model_ep_plan") and experts:
        found["ep_size"] = experts
    return found


def fields(plan: Plan) -> str:
    lines = []
    for name in plan.sizes:
        node = plan.parent.fields[name]
        optional = " | None" if name == WINDOW or "None" in code(node.annotation.annotation) else ""
        default = literal_default(node)
        lines.append(f"{name}: int | list[int | None]{optional}" + (f" = {default}" if default else ""))
    if own := plan.parent.other_names.get(DEPTH):  # the base class of families has it by this name
        lines += [f"{DEPTH}: int = {literal_default(plan.parent.fields[own])}", f"{own} = AttributeError()"]
    if is_property(plan.parent, "layer_types"):
        lines.append("layer_types: list[str] | None = None")
    return "\n".join(lines)


def is_property(parent: Parent, name: str) -> bool:
    return isinstance(parent.config_pieces.get(name), cst.FunctionDef)


def block_types(parent: Parent) -> str:
    """The parent's list of kinds of layers, which it derives from other fields: here from `layer_types`."""
    if not is_property(parent, "layers_block_type"):
        return ""
    words = {MIXER_WORDS[word]: word for word in words_of_property(parent)}
    full, linear = words.get("full_attention"), words.get("linear_attention")
    return (
        "@property\ndef layers_block_type(self) -> list[str]:\n"
        f'    return ["{linear}" if kind == "linear_attention" else "{full}" for kind in self.layer_types]\n'
    )


MIXER_WORDS = {
    "attention": "full_attention",
    "full_attention": "full_attention",
    "mamba": "linear_attention",
    "linear_attention": "linear_attention",
}


def words_of_property(parent: Parent) -> list[str]:
    """The two kinds of layers that the parent's property tells apart."""
    found = [each.evaluated_value for each in walk(property_value(parent)) if isinstance(each, cst.SimpleString)]
    if len(found) != 2 or not all(word in MIXER_WORDS for word in found):
        raise parent.refusal(
            None, f"the layers_block_type of {parent.config} are {found}, {sorted(MIXER_WORDS)} are known"
        )
    return [str(word) for word in found]


def property_value(parent: Parent) -> cst.BaseExpression:
    node = parent.config_pieces["layers_block_type"]
    assert isinstance(node, cst.FunctionDef)
    match [small(each) for each in statements_of(node)]:
        case [cst.Return(value=cst.ListComp() as value)]:
            return value
    raise parent.refusal(None, f"layers_block_type of {parent.config} is no list that is understood")


def default_layer_types(parent: Parent) -> str:
    """The kinds of layers that the parent's config comes to without lists, before the base class asks for them."""
    node = parent.config_pieces.get("__post_init__")
    late = ""
    if is_property(parent, "layers_block_type"):
        late = code(property_value(parent))
        for word in words_of_property(parent):
            late = re.sub(rf"([\"']){word}\1", f'"{MIXER_WORDS[word]}"', late)
        late = f"self.layer_types = {late}\n"
    elif isinstance(node, cst.FunctionDef):
        body = statements_of(node)
        at = next((idx for idx, each in enumerate(body) if "super().__post_init__" in code(each)), len(body))
        if any("layer_types" in attributes_set(each) for each in body[at:]):
            late = "".join(defaults_of(parent, {"layer_types"}))
    return f"if self.layer_types is None and self.mixer_types is None:\n{indented(late)}" if late else ""


def post_init(plan: Plan) -> str:
    """`__post_init__`: lists before the parent computes with them, and what it decides by layer."""
    parent, lines = plan.parent, []
    if own := parent.other_names.get(DEPTH):
        lines.append(f'self.{DEPTH} = kwargs.pop("{own}", self.{DEPTH})\n')
    if checks := early_checks(plan):
        lines.append(f"self.refuse({' or '.join(checks)})\n")
    said = "layers of a family have masks of their own"
    lines += [f'if self.{flag}:\n    self.refuse(["{flag}: {said}"])\n' for flag in dict.fromkeys(plan.refused_flags)]
    if "mamba" in plan.mixer_types or plan.has_own_words:
        lines.append(default_layer_types(parent))
    if "mamba" in plan.mixer_types:
        lines.append(layer_types_of_mixers(plan))
    early = parent.config_pieces.get("__post_init__")
    if early and asks_early(early) and plan.mixer_types == ["attention"]:
        lines.append('if self.mixer_types is None:\n    self.mixer_types = ["attention"] * self.num_hidden_layers\n')
    if plan.windows and "mamba" not in plan.mixer_types:
        lines += windows(parent)
    if plan.kinds:
        lines.append("if self.mlp_types is None:\n" + indented(kinds(plan)))
    if not lines:
        return ""
    return "def __post_init__(self, **kwargs):\n" + indented("".join(lines) + "super().__post_init__(**kwargs)\n")


def early_checks(plan: Plan) -> list[str]:
    """What is looked at before the parent computes with it."""
    checks, head_dim = [], plan.parent.fields.get("head_dim")
    if HEADS in plan.sizes and head_dim and "None" in code(head_dim.annotation.annotation):
        checks.append("self.head_dim_errors()")
    if plan.windows or plan.kinds:
        checks += ["self._depth_errors()", *["self._list_errors()"] * bool(plan.kinds)]
    return checks


def layer_types_of_mixers(plan: Plan) -> str:
    """`layer_types` where the mixers are given: the parent would write its own default."""
    window = f"self.{WINDOW}[idx] is not None" if plan.windows else ""
    attends = (
        f'"sliding_attention" if isinstance(self.{WINDOW}, list) and {window} else "full_attention"'
        if window
        else '"full_attention"'
    )
    return (
        "if self.layer_types is None and self.mixer_types is not None:\n"
        f'    self.layer_types = ["{plan.state_word}" if mixer == "mamba" else {attends} for idx, mixer in enumerate(self.mixer_types)]\n'
    )


def rope(plan: Plan) -> str:
    """RoPE where the base class of configs, which reads the first layer's, would ask too much or too early."""
    validation = "def validate_rope(self):\n    PreTrainedConfig.validate_rope(self)\n"
    if re.search(r"config\.rope_parameters\[layer_type\]", plan.parent.modeling.text):
        return (
            "def _rope_errors(self) -> list[str]:\n    return []  # one RoPE for each type of layer\n\n" + validation
        )
    early = plan.parent.config_pieces.get("__post_init__")
    return validation if early and asks_early(early) else ""


def asks_early(post_init: cst.CSTNode) -> bool:
    """Whether the parent's config validates its RoPE before the base class has its lists."""
    return "self.validate_rope()" in code(post_init).partition("super().__post_init__")[0]


def numbers(plan: Plan) -> str:
    """The base class knows numbers by name, which may be None here."""
    optional = [
        name
        for name in NUMBERS
        if name in plan.parent.fields and "None" in code(plan.parent.fields[name].annotation.annotation)
    ]
    if not optional:
        return ""
    return (
        "def number_errors(self) -> list[str]:\n"
        f"    unset = [name for name in {optional!r} if getattr(self, name) is None]\n"
        '    return [error for error in super().number_errors() if error.partition(" ")[0] not in unset]\n'
    )


def windows(parent: Parent) -> list[str]:
    """Windows as a list say by themselves which layers slide."""
    lines = []
    if "use_sliding_window" in parent.fields:
        lines.append(f"self.use_sliding_window = self.use_sliding_window or isinstance(self.{WINDOW}, list)\n")
    if "layer_types" in parent.fields:
        lines.append(
            f"windows = self.{WINDOW}\n"
            "if self.layer_types is None and isinstance(windows, list) and len(windows) == self.num_hidden_layers:\n"
            '    self.layer_types = ["full_attention" if window is None else "sliding_attention" for window in windows]\n'
        )
    return lines


def window_flag(plan: Plan) -> str:
    """The parent's yes or no to windows follows them, when they are set and when layers are taken out."""
    if not plan.windows or "use_sliding_window" not in plan.parent.fields:
        return ""
    return f"def normalise(self):\n    super().normalise()\n    self.use_sliding_window = self.{WINDOW} is not None\n"


def kinds(plan: Plan) -> str:
    """The list of MLPs that the parent's own condition comes to."""
    assert plan.kinds is not None
    copied = "".join(defaults_of(plan.parent, condition_fields(plan.kinds)))
    condition = own_condition(code(plan.kinds.condition), plan)
    chosen = f'"{plan.kinds.first}" if {condition} else "{plan.kinds.second}"'
    return f"{copied}self.mlp_types = [{chosen} for layer_idx in range(self.num_hidden_layers)]\n"


def own_condition(text: str, plan: Plan) -> str:
    """A condition on `config` as one on `self`; a size may be a list, `None` where a layer has none."""

    def own(match: re.Match[str]) -> str:
        return f'(self._as_list("{match[1]}")[layer_idx] or 0)' if match[1] in plan.sizes else f"self.{match[1]}"

    return re.sub(r"\bconfig\.(\w+)", own, text)


def defaults_of(parent: Parent, wanted: set[str]) -> list[str]:
    """The statements by which the parent's config completes these fields, which is later than they are read here."""
    node = parent.config_pieces.get("__post_init__")
    if not isinstance(node, cst.FunctionDef):
        return []
    needed, found = {f"self.{name}" for name in wanted}, []
    for statement in reversed(statements_of(node)):
        assigned = {f"self.{name}" for name in attributes_set(statement)} | set(assigned_names(statement))
        if assigned & needed and "super()" not in code(statement):
            found.append(code(bare(statement)).replace("kwargs.pop(", "kwargs.get("))
            needed |= {f"self.{name}" for name in attributes_of(statement)} | (
                set(names_of(statement)) - {"self", "kwargs"}
            )
    return found[::-1]


def attributes_set(statement: cst.CSTNode) -> list[str]:
    targets = [target.target for each in walk(statement) if isinstance(each, cst.Assign) for target in each.targets]
    return [each.attr.value for each in targets if isinstance(each, cst.Attribute) and code(each.value) == "self"]


def deletion(method: str) -> str:
    return f'def {method}(self):\n    raise AttributeError("The layers are checked one by one in HeterogeneousPreTrainedConfig")\n'
