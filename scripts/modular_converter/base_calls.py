"""`Base.method(self, ...)` in a shard: a call on the base that must not be replaced by the parent's body."""

import ast
import re
from collections.abc import Sequence
from dataclasses import replace

from .blocks import Lines
from .source import Chunk


BLOCK = "if True:\n"  # lets an indented statement be parsed


def rewrite_base_calls(chunk: Chunk, bases: Sequence[str]) -> Chunk:
    """`Base.method(self, ...)` was written to keep a call from being unrolled; it becomes `super().method(...)`."""
    if not any(f"{base}." in chunk.text for base in (*bases, "nn.Module", "PreTrainedModel")):
        return chunk
    text = BLOCK + chunk.text
    lines = Lines(text)
    edits: list[tuple[int, int, str]] = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Call) and _is_base_call(node, bases):
            edits += _base_call_edits(lines, node)
    for start, end, new in sorted(edits, reverse=True):
        text = text[:start] + new + text[end:]
    return replace(chunk, text=text.removeprefix(BLOCK)) if edits else chunk


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
