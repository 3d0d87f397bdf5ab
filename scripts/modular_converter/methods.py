"""Merging one method of a child class with the parent's method of the same name."""

import ast
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from .blocks import Decorators, Function, Lines, is_docstring, parameter_list
from .scan import without_comments
from .source import Chunk


NO_INHERIT = "no_inherit_decorator"
Report = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Scope:
    """What merging the methods of one class needs: where problems go, the bases of the merged class, and its memory.

    What a child assigns or deletes after a `super()` call stays in force for the methods that follow, as transformers'
    own files have it; only shards of transformers do this, others get a fresh memory for each method.
    """

    report: Report
    bases: tuple[str, ...] = ()
    remembered: list[Chunk] | None = None


def merge_method(child: Function, parent: Function, scope: Scope) -> Function:
    """The parent's method with the child's parameters, body, decorators and return annotation where it has them."""
    body = _merged_body(child, parent, scope)
    return replace(
        parent,
        decorators=merged_decorators(child.decorators, parent.decorators),
        parameters=_merged_parameters(child, parent),
        returns=child.returns or parent.returns,
        trailing=child.trailing,
        body=tuple(body),
        footer=child.footer,
        line=child.line,
    )


def new_method(child: Function, scope: Scope) -> Function:
    """A method that the parent lacks: only explicit base calls are rewritten."""
    body = (rewrite_base_calls(chunk, scope.bases) for chunk in child.body)
    return replace(child, decorators=merged_decorators(child.decorators, Decorators("", ())), body=tuple(body))


def merged_decorators(child: Decorators, parent: Decorators) -> Decorators:
    """The child's decorators replace the parent's; `@no_inherit_decorator` alone means none at all."""
    if child.names == (NO_INHERIT,):
        return Decorators("", ())
    return child if child.names else parent


def _merged_body(child: Function, parent: Function, scope: Scope) -> list[Chunk]:
    docstring = [chunk for chunk in child.body if is_docstring(chunk)] or [
        chunk for chunk in parent.body if is_docstring(chunk)
    ]
    statements = [chunk for chunk in child.body if not is_docstring(chunk)]
    position = _super_statement(statements, child.name)
    if position is None:
        return [*docstring, *(rewrite_base_calls(chunk, scope.bases) for chunk in statements)]
    before = [rewrite_base_calls(chunk, scope.bases) for chunk in statements[:position]]
    pasted = [chunk for chunk in parent.body if not is_docstring(chunk)]
    return [*docstring, *_unroll(before, pasted, statements[position + 1 :], statements[position], scope)]


def _super_statement(statements: Sequence[Chunk], method: str) -> int | None:
    """Index of the first statement that is exactly `super().method(...)`, returned or not."""
    for index, chunk in enumerate(statements):
        if _super_method(chunk.node) == method:
            return index
    return None


def _super_method(node: ast.stmt) -> str | None:
    """The method that a statement calls on `super()`, if that call is all it does."""
    if not isinstance(node, ast.Expr | ast.Return):
        return None
    match node.value:
        case ast.Call(func=ast.Attribute(value=ast.Call(func=ast.Name(id="super"), args=[], keywords=[]), attr=name)):
            return name
    return None


def _unroll(before: list[Chunk], pasted: list[Chunk], after: list[Chunk], call: Chunk, scope: Scope) -> list[Chunk]:
    """Replace the `super()` call by the parent's statements and merge the child's later statements into them."""
    first = pasted[:1] if pasted and _super_method(pasted[0].node) == "__init__" else []
    pasted = pasted[len(first) :]
    earlier = [] if scope.remembered is None else list(scope.remembered)
    if scope.remembered is not None:
        scope.remembered.extend(after)
    pasted = _delete_targets(pasted, earlier, None)
    pasted = _delete_targets(pasted, after, scope.report)
    after = [chunk for chunk in after if not isinstance(chunk.node, ast.Delete)]
    merged = _replace_assignments(pasted, [*earlier, *after])
    present = {without_comments(chunk.text) for chunk in merged}
    merged += [chunk for chunk in after if without_comments(chunk.text) not in present]
    if not merged and not first and not before:
        merged = [replace(call, text=_indent_of(call.text) + "pass\n")]
    return _post_init_last([*first, *before, *merged])


def _indent_of(text: str) -> str:
    return text[: len(text) - len(text.lstrip())]


def _delete_targets(pasted: list[Chunk], after: Iterable[Chunk], report: Report | None) -> list[Chunk]:
    """Drop the parent's assignments to what the child deletes."""
    for chunk in after:
        if not isinstance(chunk.node, ast.Delete):
            continue
        for target in chunk.node.targets:
            kept = [statement for statement in pasted if assigned_target(statement.node) != ast.unparse(target)]
            if report and len(kept) == len(pasted):
                report(chunk.line, target.col_offset + 1, f"`del {ast.unparse(target)}` matches no statement")
            pasted = kept
    return pasted


def _replace_assignments(pasted: list[Chunk], after: Iterable[Chunk]) -> list[Chunk]:
    """Put the child's assignments in the place of the parent's assignments to the same target."""
    overrides = {target: chunk for chunk in after if (target := assigned_target(chunk.node)) is not None}
    return [overrides.get(assigned_target(chunk.node) or "", chunk) for chunk in pasted]


def assigned_target(node: ast.stmt) -> str | None:
    """The text of the (first) target of an assignment."""
    match node:
        case ast.Assign(targets=[target, *_]) | ast.AnnAssign(target=target):
            return ast.unparse(target)
    return None


def _post_init_last(statements: list[Chunk]) -> list[Chunk]:
    calls = [chunk for chunk in statements if without_comments(chunk.text) == "self.post_init()"]
    if not calls or statements[-1] in calls:
        return statements
    return [*(chunk for chunk in statements if chunk not in calls), calls[0]]


def _merged_parameters(child: Function, parent: Function) -> str:
    """`**super_kwargs` stands for the parent's parameters; otherwise the child's own are taken."""
    mine = parameter_list(child)
    if not any(name == "**super_kwargs" for name, _ in mine):
        return child.parameters
    own = {name: text for name, text in mine if name != "**super_kwargs"}
    theirs = parameter_list(parent)
    merged = {name: own.get(name, text) for name, text in theirs if not name.startswith("**")}
    merged.update({name: text for name, text in own.items() if name not in merged})
    merged.update({name: text for name, text in theirs if name.startswith("**")})
    *front, last = merged.values()
    return "".join([*map(_with_comma, front), last])


def _with_comma(parameter: str) -> str:
    """A parameter that can be followed by another one, its own comment kept behind the comma."""
    code, _, comment = parameter.partition("#") if "#" in parameter.splitlines()[-1] else (parameter, "", "")
    code = code.rstrip().removesuffix(",") + ","
    return f"{code}  #{comment}" if comment else code


def rewrite_base_calls(chunk: Chunk, bases: Sequence[str]) -> Chunk:
    """`Base.method(self, ...)` was written to keep a call from being unrolled; it becomes `super().method(...)`."""
    if not any(f"{base}." in chunk.text for base in (*bases, "nn.Module", "PreTrainedModel")):
        return chunk
    text = "if True:\n" + chunk.text
    lines = Lines(text)
    edits: list[tuple[int, int, str]] = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Call) and _is_base_call(node, bases):
            edits += _base_call_edits(lines, node)
    for start, end, new in sorted(edits, reverse=True):
        text = text[:start] + new + text[end:]
    return replace(chunk, text=text.removeprefix("if True:\n")) if edits else chunk


def _is_base_call(node: ast.Call, bases: Sequence[str]) -> bool:
    if not isinstance(node.func, ast.Attribute) or not isinstance(node.func.value, ast.Name | ast.Attribute):
        return False
    owner = ast.unparse(node.func.value)
    if owner == "nn.Module" and "GradientCheckpointingLayer" in bases:
        return True
    if owner == "PreTrainedModel" and any("PreTrainedModel" in base for base in bases):
        return True
    return owner in bases


def _base_call_edits(lines: Lines, node: ast.Call) -> list[tuple[int, int, str]]:
    assert isinstance(node.func, ast.Attribute)
    start, end = lines.span(node.func.value)
    edits = [(start, end, "super()")]
    if node.args and isinstance(node.args[0], ast.Name) and node.args[0].id == "self":
        first, last = lines.span(node.args[0])
        comma = re.compile(r"\s*,\s*").match(lines.text, last)
        edits.append((first, comma.end() if comma else last, ""))
    return edits
