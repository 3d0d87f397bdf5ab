"""What the expansion of a shard would leave out, told at its place in the shard.

Errors are only for shards outside transformers: its own are expanded as the files beside them were, with a warning.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress

import libcst as cst

from ..layout.outputs import FIRST, Output
from ..naming.prefix import prefix_votes
from ..shards.shard import Parent, Shard
from ..sources.diagnostics import Diagnostic, nearest
from ..sources.members import pieces_of
from ..sources.source import SourceFile, Statement
from .call_checks import Mismatch, fields_in, mismatches
from .slips import slips


def check_shard(shard: Shard, outputs: Mapping[str, Output]) -> list[Diagnostic]:
    """Every statement of the shard that reaches no output, and every base that names no parent."""
    if shard.exported is None:
        return []
    inside = shard.home.inside
    sources = (shard.source, *shard.helpers)
    found = [problem for source in sources for problem in _dropped_statements(source, warning=inside)]
    found += [*_dropped_docstrings(shard.source), *_other_prefixes(shard)]
    if inside:
        return found
    found += [problem for source in sources for problem in (*_bound_twice(source), *_on_one_line(source))]
    return [*found, *_unused(shard, outputs), *_unknown_exports(shard, outputs), *_module_bases(shard), *slips(shard)]


def _dropped_statements(source: SourceFile, warning: bool) -> Iterator[Diagnostic]:
    """Statements that no class can depend on by name."""
    for statement in source.of_kind("other", "attachment"):
        if statement.kind == "other" or statement.name not in source.definitions:
            message = (
                f"this top-level statement {'is' if warning else 'would be'} left out: only imports, classes, functions and `NAME = value` "
                "are carried over; move it into a function or a class"
            )
            yield Diagnostic(source.path, source.line(statement.node), 1, message, warning)


def _bound_twice(source: SourceFile) -> Iterator[Diagnostic]:
    """Names that the file binds more than once, of which only the last would be carried over."""
    several: dict[str, list[Statement]] = {}
    for statement in source.of_kind("class", "function", "constant"):
        several.setdefault(statement.name, []).append(statement)
    for name, (first, *others) in several.items():
        for statement in others:
            message = f"{name} is bound in line {source.line(first.node)}, too, which would be left out: keep one"
            yield Diagnostic(source.path, source.line(statement.node), 1, message)


def _on_one_line(source: SourceFile) -> Iterator[Diagnostic]:
    """Top-level statements beside one another, of which only the last would be carried over."""
    for node in (statement.node for statement in source.statements):
        if isinstance(node, cst.SimpleStatementLine) and len(node.body) > 1:
            yield Diagnostic(
                source.path, *source.position(node.body[1]), "write one statement a line at the top level"
            )


def _dropped_docstrings(source: SourceFile) -> Iterator[Diagnostic]:
    """Docstrings of a module: an output has none."""
    for statement in source.of_kind("docstring"):
        message = "this docstring reaches no output: write it as a comment above the first statement, or into a class"
        yield Diagnostic(source.path, source.line(statement.node), 1, message, warning=True)


def _other_prefixes(shard: Shard) -> Iterator[Diagnostic]:
    """Classes whose name asks for another prefix than the one that their parent's file is renamed to."""
    for parent in shard.parents:
        pairs = [(child, base) for child, bases in shard.bases.items() for base in bases if base in parent.classes]
        votes = prefix_votes(pairs, shard.cased, shard.names.cased(parent.model), shard.home.inside)
        for (child, _), vote in zip(pairs, votes, strict=True):
            if len(set(votes)) > 1 and shard.names.spelling(vote).cased != _prefix(shard, parent):
                yield _other_prefix(shard, parent, child, vote)


def _prefix(shard: Shard, parent: Parent) -> str:
    return parent.renaming.new.cased if parent.renaming.new else shard.cased


def _other_prefix(shard: Shard, parent: Parent, child: str, vote: str) -> Diagnostic:
    message = (
        f"{child} asks for the prefix {vote}, but what comes from {parent.source.path.name} is called "
        f"{_prefix(shard, parent)}: one parent file has one prefix; name the class after it, or define what it needs"
    )
    return Diagnostic(shard.path, shard.source.line(shard.source.definitions[child].node), 1, message, warning=True)


def _unused(shard: Shard, outputs: Mapping[str, Output]) -> Iterator[Diagnostic]:
    """Functions and constants of the shard that no output took."""
    emitted = {name for output in outputs.values() for name in output.body}
    for name, entry in shard.entries.items():
        if not entry.helper and name not in emitted and name not in FIRST:
            message = f"{name} would be left out: no class of the shard uses it; delete it, or list it in `__all__`"
            yield Diagnostic(shard.path, shard.source.line(entry.statement.node), 1, message)


def _unknown_exports(shard: Shard, outputs: Mapping[str, Output]) -> Iterator[Diagnostic]:
    """Names in `__all__` that no output defines."""
    emitted = {name for output in outputs.values() for name in output.body}
    line = shard.source.line(next(shard.source.of_kind("__all__")).node)
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
                line = shard.source.line(shard.source.definitions[name].node)
                message = f"the base {base} is not recognised as a parent: import {base.rpartition('.')[2]} by name"
                yield Diagnostic(shard.path, line, 1, message)


def check_calls(shard: Shard, output: Output, imports: Iterable[cst.CSTNode]) -> Iterator[Diagnostic]:
    """Calls, decorators and outputs in an expanded file that do not fit to what they mean, once each."""
    nodes = [node for nodes in output.body.values() for node in nodes]
    found = {each.message: each for each in mismatches(nodes, fields_in(imports, shard.home))}
    for each in found.values():
        where = f"in {' and '.join(each.names)}, as expanded into the {output.type} file: "
        remedy = "; has a parent changed what this overrides? `hetero rebase` merges that"
        yield Diagnostic(shard.path, *_place_of(shard, each), f"{where}{each.message}{remedy}", each.doubtful)


def _place_of(shard: Shard, mismatch: Mismatch) -> tuple[int, int]:
    """The place in the shard of a mismatch, or of the override that has to do with it."""
    with suppress(LookupError):
        return shard.source.position(mismatch.node)
    for name in mismatch.names:
        owner, _, member = name.partition(".")
        if owner in shard.source.definitions:
            node = shard.source.definitions[owner].node
            members = pieces_of(node) if isinstance(node, cst.ClassDef) else {}
            return shard.source.position(members.get(member, node))
    return 1, 1
