"""Names that a parent's file imports and the shard binds to something else: the parent's code would mean another thing."""

from collections.abc import Iterator

import libcst as cst

from ..shards.shard import Parent, Shard
from ..sources.source import SourceFile
from ..syntax.import_statements import aliases, bound_name, module_of
from ..syntax.tree import small


Origin = tuple[str, str]


def rebound(shard: Shard, parent: Parent) -> Iterator[tuple[str, SourceFile, cst.CSTNode, str]]:
    """Each such name, the file and the statement that bind it, and where the parent has it from."""
    theirs = {name: origin for name, origin, _ in _imported(parent.source, parent.module)}
    for source in (shard.source, *shard.helpers):
        for name, entry in source.definitions.items():
            if entry.kind == "constant" and name in theirs:
                yield name, source, entry.node, ".".join(theirs[name])
        for name, (module, original), node in _imported(source, ""):
            if node in shard.siblings_at or name not in theirs or _is_same(theirs[name], (module, original), parent):
                continue
            yield name, source, node, ".".join(theirs[name])


def _imported(source: SourceFile, within: str) -> Iterator[tuple[str, Origin, cst.ImportFrom]]:
    """The names that a file takes from modules, and the modules by their absolute names."""
    for node in (small(statement.node) for statement in source.of_kind("import")):
        if isinstance(node, cst.ImportFrom):
            package = within.split(".")[: -len(node.relative)] if node.relative else []
            module = ".".join([*package, module_of(node)])
            for alias in aliases(node):
                yield bound_name(alias), (module, alias.evaluated_name), node


def _is_same(theirs: Origin, mine: Origin, parent: Parent) -> bool:
    """Whether two imports may give one thing: a package hands on what its modules have, and the parent's own file does."""
    if theirs[1] != mine[1]:
        return False
    first, second = sorted([theirs[0], mine[0]], key=len)
    return mine[0] == parent.module or f"{second}.".startswith(f"{first}.")
