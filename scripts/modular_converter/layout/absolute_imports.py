"""Relative imports of a parent's code, as a file outside its package writes them."""

import libcst as cst

from ..shards.shard import Parent, Shard
from ..syntax.import_statements import module_of
from ..syntax.tree import Node, dotted, rewrite


def with_absolute_imports(shard: Shard, parent: Parent, node: Node) -> Node:
    """The node with absolute imports; files that are renamed along stay siblings, called after the shard."""
    if shard.home.inside:
        return node
    renaming, package = parent.renaming, parent.module.split(".")[:-1]
    along = {renaming.name(old): f"{old.removesuffix(parent.model)}{shard.model}" for old in renaming.along or ()}

    def absolute(found: cst.ImportFrom) -> cst.ImportFrom:
        level, module = len(found.relative), module_of(found)
        if level == 1 and module in along:
            return found.with_changes(module=cst.Name(along[module]))
        if level == 0 or parent.is_sibling:
            return found
        base = package[: len(package) - level + 1]
        return found.with_changes(relative=(), module=dotted(".".join([*base, module] if module else base)))

    return rewrite(node, {cst.ImportFrom: absolute})
