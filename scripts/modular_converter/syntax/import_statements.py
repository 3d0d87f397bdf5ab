"""What import statements say: their module, and the names that they bind."""

import libcst as cst
from libcst.helpers import get_full_name_for_node


def module_of(node: cst.ImportFrom) -> str:
    """`from ..a.b import c` -> `a.b`."""
    return (get_full_name_for_node(node.module) or "") if node.module else ""


def written_module(node: cst.ImportFrom) -> str:
    """`from ..a.b import c` -> `..a.b`."""
    return "." * len(node.relative) + module_of(node)


def aliases(node: cst.Import | cst.ImportFrom) -> tuple[cst.ImportAlias, ...]:
    """The names of an import; none for `import *`."""
    return () if isinstance(node.names, cst.ImportStar) else tuple(node.names)


def names_of(node: cst.ImportFrom) -> list[str]:
    """The names that are imported, `*` included."""
    return ["*"] if isinstance(node.names, cst.ImportStar) else [alias.evaluated_name for alias in node.names]


def bound_name(alias: cst.ImportAlias) -> str:
    """The name that an import binds."""
    return alias.evaluated_alias or alias.evaluated_name.partition(".")[0]
