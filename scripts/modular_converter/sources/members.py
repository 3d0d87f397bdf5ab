"""The pieces of a class by name, and where a shard defines one."""

from pathlib import Path

import libcst as cst

from ..syntax.decorators import half_of_property
from ..syntax.statements import assigned_target
from ..syntax.tree import block, small
from .source import read_source


Pieces = dict[str, cst.BaseStatement]


def pieces_of(node: cst.ClassDef) -> Pieces:
    """The methods and attributes of a class by name; of properties, setters and deleters apart."""
    found: Pieces = {}
    for statement in block(node.body).body:
        if name := piece_name(statement):
            found[name] = statement
    return found


def piece_name(statement: cst.BaseStatement) -> str:
    """What a statement of a class body is called: `forward`, `size.setter`, `base_model_prefix`; else nothing."""
    match small(statement):
        case cst.FunctionDef(name=cst.Name(value=name)) as function:
            half = half_of_property(function)
            return f"{name}.{half}" if half else name
        case cst.Assign() | cst.AnnAssign():
            return assigned_target(statement) or ""
    return ""


def place_of(shard: Path, name: str) -> tuple[int, int] | None:
    """Where a shard defines `Class.method`, or `function`; None where it does not."""
    source = read_source(shard)
    outer, _, inner = name.partition(".")
    if outer not in source.definitions:
        return None
    node: cst.CSTNode | None = source.definitions[outer].node
    if inner:
        node = pieces_of(node).get(inner) if isinstance(node, cst.ClassDef) else None
    return source.position(node) if node else None
