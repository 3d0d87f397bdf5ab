"""What the expansion of a shard would leave out, told at its place in the shard.

Only for shards outside transformers: its own are expanded as the files beside them were.
"""

import re
from collections.abc import Iterator, Mapping

from .diagnostics import Diagnostic, nearest
from .layout import FIRST, Output
from .shard import Shard
from .source import SourceFile


def check_shard(shard: Shard, outputs: Mapping[str, Output]) -> list[Diagnostic]:
    """Every statement of the shard that reaches no output, and every base that names no parent."""
    if shard.home.inside or shard.exported is None:
        return []
    found = [problem for source in (shard.source, *shard.helpers) for problem in _dropped_statements(source)]
    return [*found, *_unused(shard, outputs), *_unknown_exports(shard, outputs), *_module_bases(shard)]


def _dropped_statements(source: SourceFile) -> Iterator[Diagnostic]:
    """Statements that no class can depend on by name."""
    for statement in source.of_kind("other", "attachment"):
        if statement.kind == "other" or statement.name not in source.definitions:
            message = (
                "this top-level statement would be left out: only imports, classes, functions and `NAME = value` "
                "are carried over; move it into a function or a class"
            )
            yield Diagnostic(source.path, statement.line, 1, message)


def _unused(shard: Shard, outputs: Mapping[str, Output]) -> Iterator[Diagnostic]:
    """Functions and constants of the shard that no output took."""
    emitted = {name for output in outputs.values() for name in output.body}
    for name, entry in shard.entries.items():
        if not entry.helper and name not in emitted and name not in FIRST:
            message = f"{name} would be left out: no class of the shard uses it; delete it, or list it in `__all__`"
            yield Diagnostic(shard.path, entry.statement.line, 1, message)


def _unknown_exports(shard: Shard, outputs: Mapping[str, Output]) -> Iterator[Diagnostic]:
    """Names in `__all__` that no output defines."""
    emitted = {name for output in outputs.values() for name in output.body}
    line = next(shard.source.of_kind("__all__")).line
    for name in shard.exported or ():
        if name not in emitted:
            yield Diagnostic(
                shard.path, line, 1, f"`__all__` lists {name}, which nothing defines{nearest(name, emitted)}"
            )


def _module_bases(shard: Shard) -> Iterator[Diagnostic]:
    """Bases written as `module.Class` or `Class[...]`, which are not recognised as parents."""
    for name, bases in shard.bases.items():
        for base in bases:
            if re.match(r"(?:\w+\.)*(?:modeling|configuration|processing|tokenization)_\w+\.", base):
                line = shard.source.definitions[name].line
                message = f"the base {base} is not recognised as a parent: import {base.rpartition('.')[2]} by name"
                yield Diagnostic(shard.path, line, 1, message)
