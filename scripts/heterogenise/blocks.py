"""The residual blocks of a decoder layer's forward: where each begins and ends, and what it uses."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import libcst as cst

from ..modular_converter.syntax.tree import bare, block, code, rewrite, small, walk
from .parent import Parent, attributes_of, names_of, parameters_of, statements_of


MIXED = {"attention_mask", "cache"}  # what a sub-block takes that mixes tokens


@dataclass(frozen=True)
class Block:
    """Statements that add something to the stream; `kind` is "mixer", "mlp", or "both" where they share one residual."""

    kind: str
    statements: Sequence[cst.BaseStatement]
    uses: frozenset[str]
    residual: str
    stream: str  # what the stream is called behind the block
    without: cst.BaseExpression | None = None  # what it is where the block is absent; None where it stays


@dataclass(frozen=True)
class Layer:
    """The forward of a decoder layer: blocks, and the statements between them."""

    parts: Sequence[Block | cst.BaseStatement]
    left: tuple[str, ...] = ()  # what is returned beside the stream, and None where the block is absent
    flag: str = ""  # a condition, where the forward has two forms: this one where it holds, else the other
    otherwise: "Layer | None" = None

    @property
    def blocks(self) -> list[Block]:
        own = [part for part in self.parts if isinstance(part, Block)]
        return own + (self.otherwise.blocks if self.otherwise else [])


def read_layer(parent: Parent) -> Layer:
    """The blocks, or `DoesNotFit` where the forward is something else than a mixer and an MLP with residuals."""
    forward = parent.method(parent.layer, "forward")
    stream, body = parameters_of(forward)[0], with_returned_sum(statements_of(forward))
    for at, statement in enumerate(body):
        match small(statement):
            case cst.If(test=cst.Attribute() as test, body=one, orelse=cst.Else(body=other)) if _ends_in_sum(
                one
            ) and _ends_in_sum(other):
                forms = [[*body[:at], *block(each).body, *body[at + 1 :]] for each in (one, other)]
                first, second = (_read_form(parent, forward, stream, form) for form in forms)
                return replace(first, flag=code(test), otherwise=second)
    return _read_form(parent, forward, stream, body)


def with_returned_sum(body: list[cst.BaseStatement]) -> list[cst.BaseStatement]:
    """`return a + b` as a statement that makes the sum, and one that returns it."""
    match small(body[-1]):
        case cst.Return(value=cst.BinaryOperation(operator=cst.Add()) as value):
            made = cst.Assign([cst.AssignTarget(cst.Name("hidden_states"))], value)
            lines = [made, cst.Return(cst.Name("hidden_states"))]
            return [*body[:-1], *(cst.SimpleStatementLine([line]) for line in lines)]
    return body


def _ends_in_sum(body: cst.BaseSuite) -> bool:
    last = small(block(body).body[-1])
    return isinstance(last, cst.Assign) and len(terms_of(last.value)) > 1


def _read_form(parent: Parent, forward: cst.FunctionDef, stream: str, body: Sequence[cst.BaseStatement]) -> Layer:
    parts: list[Block | cst.BaseStatement] = []
    left: tuple[str, ...] = ()
    at = 0
    while at < len(body):
        end, residual = _end_of_block(parent, body, at, stream)
        if end is None:
            left = returned_beside(body[at], stream)
            _expect_between(parent, body[at], stream, last=at == len(body) - 1, left=left)
            parts.append(body[at])
            at += 1
            continue
        part = _block(parent, body[at : end + 1], stream, residual)
        parts.append(part)
        _expect_nothing_left(parent, part, body[end + 1 :])
        stream, at = part.stream, end + 1
    layer = Layer(parts, left)
    kinds = [part.kind for part in layer.blocks]
    if kinds not in (["mixer", "mlp"], ["both"]):
        names = {"mixer": "a mixer", "mlp": "an MLP", "both": "a mixer beside an MLP"}
        found = ", ".join(names[kind] for kind in kinds) or "none"
        reason = f"the residual blocks of {parent.layer}.forward are {found}; a mixer and then an MLP are expected"
        raise parent.refusal(forward, reason)
    return layer


def returned_beside(statement: cst.BaseStatement, stream: str) -> tuple[str, ...]:
    """`a` and `b` of `return stream, a, b`."""
    match small(statement):
        case cst.Return(value=cst.Tuple(elements=[first, *others])) if code(first.value) == stream:
            return tuple(code(each.value) for each in others)
    return ()


def _end_of_block(parent: Parent, body: Sequence[cst.BaseStatement], at: int, stream: str) -> tuple[int | None, str]:
    """The statement that ends the block that begins here, and what the block calls its residual."""
    copied = _copied(body[at])
    live = {stream}  # names of what the stream is in front of the block
    for end in range(at, len(body) - 1):
        for residual in sorted(live):
            if _adds(body[end], residual) or _scaled(parent, body[end], residual) is not None:
                return end, residual
        if end == at and copied[1] != stream and not calls_of_parts(body[at]):
            break
        target, value = _copied(body[end])
        live = live | {target} if value in live else live - {*assigned_names(body[end])}
    if copied[1] == stream:
        reason = f"`{copied[0]} = {stream}` begins a block that does not end in `{stream} = {copied[0]} + ...`"
        raise parent.refusal(body[at], f"{parent.layer}.forward: {reason}")
    return None, ""


def _copied(statement: cst.BaseStatement) -> tuple[str, str]:
    """(a, b) of `a = b`."""
    match small(statement):
        case cst.Assign(targets=[cst.AssignTarget(target=cst.Name(value=name))], value=cst.Name(value=value)):
            return str(name), str(value)
    return "", ""


def _value_assigned(statement: cst.BaseStatement) -> cst.BaseExpression | None:
    """`value` of `name = value`."""
    match small(statement):
        case cst.Assign(targets=[cst.AssignTarget(target=cst.Name())], value=value):
            return value
    return None


def _adds(statement: cst.BaseStatement, residual: str) -> bool:
    """Whether a statement is `stream = residual + ...`, the residual itself being one of the terms, and in no other but as
    what a call is given."""
    value = _value_assigned(statement)
    terms = terms_of(value) if value else []
    plain = [code(term) for term in terms].count(residual) == 1
    return len(terms) > 1 and plain and [*_names_computed_with(value)].count(residual) == 1


def _names_computed_with(node: cst.CSTNode | None) -> Iterator[str]:
    """The variables of an expression, those left out that calls are given."""
    match node:
        case cst.Name(value=name):
            yield name
        case cst.Attribute(value=owner):
            yield from _names_computed_with(owner)
        case cst.Call() | None:
            return
        case _:
            for child in node.children:
                yield from _names_computed_with(child)


def _scaled(parent: Parent, statement: cst.BaseStatement, residual: str) -> cst.BaseExpression | None:
    """Of `stream = a * residual + ...` and `stream = function(added, residual, ...)`, what is left of the value where nothing
    is added; None of other statements."""
    value = _value_assigned(statement)
    if value is None or list(names_of(value)).count(residual) != 1:
        return None
    if isinstance(value, cst.Call):
        added = [
            each.value.value
            for each in value.args
            if isinstance(each.value, cst.Name) and each.value.value != residual
        ]
        if code(value.func) not in parent.modeling.definitions or len(added) != 1:
            return None
        return with_names(value, {added[0]: cst.parse_expression(f"torch.zeros_like({residual})")})
    terms = terms_of(value)
    products = [term for term in terms if residual in names_of(term)]
    is_product = isinstance(products[0], cst.BinaryOperation) and isinstance(products[0].operator, cst.Multiply)
    only = {*names_of(products[0])} <= {"self", residual}
    return products[0] if len(terms) > 1 and is_product and only else None


def with_names(node: cst.BaseExpression, values: Mapping[str, cst.BaseExpression]) -> cst.BaseExpression:
    """An expression with others in the place of its variables."""
    return rewrite(node, {cst.Name: lambda name: values.get(name.value, name)})


def terms_of(node: cst.BaseExpression) -> list[cst.BaseExpression]:
    """`a + b + c` -> a, b, c."""
    if isinstance(node, cst.BinaryOperation) and isinstance(node.operator, cst.Add) and not node.lpar:
        return [*terms_of(node.left), *terms_of(node.right)]
    return [node]


def _block(parent: Parent, statements: Sequence[cst.BaseStatement], stream: str, residual: str) -> Block:
    calls = [each for statement in statements for each in calls_of_parts(statement)]
    mixing = [name for name, call in calls if MIXED & {*_keywords(call), *names_of(call)}]
    built = modules_built(parent)
    other = [name for name, _ in calls if name not in mixing and "norm" not in name and "dropout" not in name]
    if unknown := [name for name, _ in calls if name not in built and name not in parent.methods(parent.layer)]:
        known = [name for name in unknown if name not in activations(parent)]
        if known:
            raise parent.refusal(statements[0], f"{parent.layer} does not build {known[0]} in its constructor")
    uses = frozenset(name for each in statements for name in attributes_of(each))
    kind = (
        "both" if mixing and other and len(terms_of(small(statements[-1]).value)) > 2 else "mixer" if mixing else "mlp"
    )
    [behind] = assigned_names(statements[-1])
    without: cst.BaseExpression | None = cst.Name(stream) if behind != stream else None
    if not _adds(statements[-1], residual):
        scaled = _scaled(parent, statements[-1], residual)
        assert scaled is not None
        if kind == "both":
            reason = f"{parent.layer}.forward: the residual of a mixer beside an MLP is scaled"
            raise parent.refusal(statements[-1], reason)
        uses -= {*attributes_of(scaled)}
        without = with_names(scaled, {residual: cst.Name(stream)})
    return Block(kind, statements, uses, residual, behind, without)


def activations(parent: Parent) -> set[str]:
    """Attributes of the layer that are functions: `self.act = ACT2FN[...]`."""
    found = [small(each) for each in parent.constructor()]
    return {
        each.targets[0].target.attr.value
        for each in found
        if isinstance(each, cst.Assign)
        and isinstance(each.targets[0].target, cst.Attribute)
        and isinstance(each.value, cst.Subscript)
    }


def _keywords(call: cst.Call) -> list[str]:
    return [each.keyword.value for each in call.args if each.keyword]


def calls_of_parts(node: cst.CSTNode) -> list[tuple[str, cst.Call]]:
    """(x, call) of each `self.x(...)`."""
    return [
        (each.func.attr.value, each)
        for each in walk(node)
        if isinstance(each, cst.Call)
        and isinstance(each.func, cst.Attribute)
        and isinstance(each.func.value, cst.Name)
        and each.func.value.value == "self"
    ]


def modules_built(parent: Parent) -> dict[str, list[str]]:
    """Attribute of the layer -> the classes that its constructor may build for it."""
    found: dict[str, list[str]] = {}
    for each in (node for statement in parent.constructor() for node in walk(statement)):
        match each:
            case cst.Assign(
                targets=[cst.AssignTarget(target=cst.Attribute(value=cst.Name("self"), attr=cst.Name(name)))],
                value=value,
            ):
                classes = [call for call in map(_class_of, walk(value)) if call]
                classes = [call for call in classes if parent.is_class(call) or re.match(r"nn\.[A-Z]", call)]
                if classes:
                    found.setdefault(name, []).extend(classes)
    return found


def _class_of(node: cst.CSTNode) -> str:
    return code(node.func) if isinstance(node, cst.Call) else ""


def _expect_between(
    parent: Parent, statement: cst.BaseStatement, stream: str, last: bool, left: tuple[str, ...]
) -> None:
    """Refuse a statement outside the blocks that computes with a part of the layer, or returns something else."""
    node = small(statement)
    if isinstance(node, cst.Return):
        if not (last and node.value and (code(node.value) == stream or left)):
            said = code(node).strip()
            raise parent.refusal(
                statement, f"{parent.layer}.forward ends with `{said}`; `return {stream}` is expected"
            )
    elif last:
        raise parent.refusal(statement, f"{parent.layer}.forward does not end with `return {stream}`")
    elif calls_of_parts(statement) and not _is_norm(statement, stream):
        said = code(bare(statement)).strip().splitlines()[0]
        reason = f"{parent.layer}.forward: `{said}` is part of no block of the form `{stream} = residual + ...`"
        raise parent.refusal(statement, reason)


def _is_norm(statement: cst.BaseStatement, stream: str) -> bool:
    """`stream = self.x(stream)` of a norm, which is the residual's too and stays where a block is absent."""
    return (
        re.fullmatch(rf"{stream} = self\.\w*norm\w*\({stream}\)", code(statement).strip().splitlines()[-1]) is not None
    )


def _expect_nothing_left(parent: Parent, part: Block, rest: Sequence[cst.BaseStatement]) -> None:
    """Refuse a block that leaves something behind, beside the stream, for what comes after it; a return may have it."""
    left = {name for each in part.statements for name in assigned_names(each)} - {part.stream, "_"}
    for each in rest:
        if isinstance(small(each), cst.Return):
            left &= {part.residual}
        if read := sorted(left & set(_read_names(each))):
            reason = f"{parent.layer}.forward reads {read[0]} of a block that may be absent"
            raise parent.refusal(each, reason)
        left -= set(assigned_names(each))


def _read_names(statement: cst.BaseStatement) -> list[str]:
    node = small(statement)
    return list(names_of(node.value if isinstance(node, cst.Assign) else statement))


def assigned_names(statement: cst.CSTNode) -> list[str]:
    """The variables that a statement assigns, within its branches too."""
    targets = [target.target for each in walk(statement) if isinstance(each, cst.Assign) for target in each.targets]
    return [
        each.value
        for target in targets
        if not isinstance(target, cst.Attribute | cst.Subscript)
        for each in walk(target)
        if isinstance(each, cst.Name)
    ]


def parts_of_sum(block: Block) -> tuple[list[cst.BaseStatement], list[tuple[cst.BaseExpression, str]]]:
    """Of a block that is a mixer beside an MLP: its statements without the last, and (term, kind) of the sum that is it,
    the residual having no kind."""
    *before, last = block.statements
    terms = terms_of(small(last).value)
    return before, [(term, _kind_of_term(term, before, block.residual)) for term in terms]


def _kind_of_term(term: cst.BaseExpression, before: Sequence[cst.BaseStatement], residual: str) -> str:
    if code(term) == residual:
        return ""
    return "mixer" if MIXED & names_needed(set(names_of(term)), before) else "mlp"


def names_needed(wanted: set[str], before: Sequence[cst.BaseStatement]) -> set[str]:
    """All that statements read on the way to these names."""
    found = set(wanted)
    for statement in statements_needed(wanted, before):
        found |= set(_read_names(statement))
        found |= {each.value for each in walk(statement) if isinstance(each, cst.Name)}
    return found


def statements_needed(wanted: set[str], before: Sequence[cst.BaseStatement]) -> list[cst.BaseStatement]:
    """The statements that these names are computed by."""
    needed, found = set(wanted), []
    for statement in reversed(before):
        assigned = set(assigned_names(statement))
        if assigned & needed:
            found.append(statement)
            needed = (needed - assigned) | set(_read_names(statement))
    return found[::-1]
