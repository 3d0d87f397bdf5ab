"""`hetero rebase`: carry the overrides of shards along with what their parents have changed."""

import difflib
import os
import re
import sys
import tempfile
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import libcst as cst
from libcst.codemod import CodemodContext
from libcst.codemod.visitors import AddImportsVisitor, RemoveImportsVisitor

from ..modular_converter.layout.absolute_imports import with_absolute_imports
from ..modular_converter.output.formatting import format_like
from ..modular_converter.releases.lock import (
    NAME,
    BrokenLock,
    Lock,
    Override,
    Recorded,
    formatter_of,
    gone,
    is_stale,
    read_lock,
    render_lock,
    updated,
)
from ..modular_converter.releases.overlay import used_names
from ..modular_converter.releases.overrides import overrides_of
from ..modular_converter.releases.three_way import MARK, Sides, merge, renamed
from ..modular_converter.shards.reading import read_shard
from ..modular_converter.shards.shard import DEPRECATED, Parent, Shard
from ..modular_converter.sources.diagnostics import Diagnostic, ShardError
from ..modular_converter.sources.members import piece_name
from ..modular_converter.sources.siblings import siblings_of
from ..modular_converter.sources.source import imports_in
from ..modular_converter.syntax.import_statements import aliases, bound_name, module_of, written_module
from ..modular_converter.syntax.tree import block, identifiers, small
from .drift import NoRelease, has_outputs, launch, release_root
from .generate import write_files
from .project import project_of


_MARKED = re.compile(rf"(?m)^( *){MARK.format('([0-9]+)')}\n")


@dataclass
class Rebased:
    """A shard after its rebase: its text, its tree (with a mark for each conflict), what was merged and what could not be
    or not recorded (by the names of the overrides)."""

    shard: Shard
    before: str
    text: str
    module: cst.Module
    overrides: list[Override]
    merged: list[str] = field(default_factory=list)
    conflicts: list[str] = field(default_factory=list)
    unrecorded: list[str] = field(default_factory=list)
    gone: list[Diagnostic] = field(default_factory=list)


def rebase_command(shards: list[Path] | None, onto: str | None = None, dry_run: bool = False) -> int:
    """
    Merge what the parents of shards have changed into their overrides.

    Args:
        shards: Shards to rebase; all of modular/ by default.
        onto: The release to follow: a version, a wheel, or a folder that holds the package `transformers`; what is
            installed by default.
        dry_run: Print the changes instead of writing them.

    Returns:
        0 when everything merged, 1 when a conflict was left in a shard, 2 when nothing could be done.
    """
    try:
        paths = [Path(os.path.abspath(shard)) for shard in shards or project_of(Path()).shards]
    except ShardError as error:
        print(f"hetero rebase: {error}", file=sys.stderr)
        return 2
    if onto is not None:
        return _with_release(onto, paths, dry_run)
    try:
        rebased = [_rebased(path, read_lock(path.parent)) for path in paths if has_outputs(path)]
    except (ShardError, BrokenLock) as error:
        print(f"hetero rebase: {error}", file=sys.stderr)
        return 2
    if dry_run:
        sys.stdout.writelines(line for each in rebased for line in _diff(each))
    else:
        problems = write_files(_texts(rebased))
        for problem in problems:
            print(problem, file=sys.stderr)
        if problems:
            return 2
    for line in (line for each in rebased for line in _report(each)):
        print(line)
    return int(any(each.conflicts or each.gone for each in rebased))


def _with_release(onto: str, shards: Sequence[Path], dry_run: bool) -> int:
    """The same in a process whose first `transformers` is that of the release."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            release = release_root(onto, Path(folder))
        except NoRelease as error:
            print(f"hetero rebase: {error}", file=sys.stderr)
            return 2
        done = launch(["rebase", *map(str, shards), *(["--dry-run"] if dry_run else [])], release)
        sys.stdout.write(done.stdout)
        sys.stderr.write(done.stderr)
        return done.returncode


def _rebased(path: Path, lock: Lock) -> Rebased:
    shard = read_shard(path, siblings_of(path, lambda each: each.parent, {}))
    overrides = overrides_of(shard)
    return rebase(shard, overrides, lock.get(path.name, {}))


def rebase(shard: Shard, overrides: list[Override], recorded: Mapping[str, Recorded]) -> Rebased:
    """Merge every stale override of a shard."""
    text, before = shard.source.text, cst.parse_module(shard.source.text)
    result, module = Rebased(shard, text, text, before, overrides), before
    sides: list[tuple[Sides, Override, Recorded]] = []
    result.unrecorded += (override.name for override in overrides if override.name not in recorded)
    stale = [each for each in overrides if each.name in recorded and is_stale(each, recorded[each.name])]
    moved = _moved_names(shard, stale, recorded) if stale else {}
    own = _own_fields(module, overrides)
    for override in stale:
        known, parent = recorded[override.name], _parent_of(shard, override)
        base, theirs = (parent.renaming.node(_statement(text)) for text in (known.text, override.text))
        renamed_here = dict({*DEPRECATED.findall(override.text)} - {*DEPRECATED.findall(known.text)})
        gone_names = identifiers(base) - parent.names | own & renamed_here.keys()
        ours, method = find(module, override.name), "." in override.name
        followed = moved[parent.module] | renamed_here
        merged = merge(base, ours, theirs, len(sides), followed, gone_names, method, own)
        (result.conflicts if merged.conflicts else result.merged).append(override.name)
        module = _replaced(module, override.name, merged.node)
        sides += ((each, override, known) for each in merged.conflicts)
    result.gone += gone(shard.path, overrides, recorded)
    if result.merged or result.conflicts:
        result.module = _with_imports(before, module, shard)
        result.text = _with_conflicts(format_like(shard.path, text, result.module.code), sides)
    return result


def _moved_names(
    shard: Shard, stale: Iterable[Override], recorded: Mapping[str, Recorded]
) -> dict[str, dict[str, str]]:
    """By parent, the names that its file no longer has, each with the one that stands in its place in all stale pieces, or that
    decorators of any parent's say it is."""
    found: dict[str, dict[str, set[str]]] = {}
    said = {old: new for parent in shard.parents for old, new in parent.given_up.items()}
    said = {old: new for old, new in said.items() if not any(old in parent.names for parent in shard.parents)}
    for override in stale:
        parent = _parent_of(shard, override)
        texts = (recorded[override.name].text, override.text)
        base, theirs = (parent.renaming.node(_statement(text)) for text in texts)
        names = found.setdefault(parent.module, {})
        for old, new in renamed(base, theirs).items():
            if old not in parent.names:
                names.setdefault(old, set()).add(new)
    return {
        module: said | {old: next(iter(new)) for old, new in names.items() if len(new) == 1}
        for module, names in found.items()
    }


def _own_fields(module: cst.Module, overrides: Iterable[Override]) -> frozenset[str]:
    """The fields that classes of the shard have of their own, by whatever name the parents call theirs."""
    replaced = {override.name for override in overrides}
    return frozenset(
        statement.target.value
        for node in module.body
        if isinstance(node, cst.ClassDef)
        for each in block(node.body).body
        if isinstance(statement := small(each), cst.AnnAssign) and isinstance(statement.target, cst.Name)
        if f"{node.name.value}.{statement.target.value}" not in replaced
    )


def _parent_of(shard: Shard, override: Override) -> Parent:
    module = override.parent.partition(":")[0]
    return next(each for each in shard.parents if module.endswith(each.module.lstrip(".")))


def _statement(text: str) -> Any:
    return cst.parse_module(text).body[0]


def find(module: cst.Module, name: str) -> Any:
    """The statement of a shard that is called `Class.method`, or `function`."""
    outer, _, inner = name.partition(".")
    statement: Any = next(each for each in module.body if _name(each) == outer)
    return next(each for each in block(statement.body).body if piece_name(each) == inner) if inner else statement


def _name(node: Any) -> str:
    return node.name.value if isinstance(node, cst.ClassDef) else piece_name(node)


def _replaced(module: cst.Module, name: str, new: Any) -> cst.Module:
    """The module with another statement of this name; what stands above it stays."""
    old = find(module, name)
    new = new.with_changes(leading_lines=old.leading_lines)

    def exchanged(body: Sequence[Any]) -> list[Any]:
        return [new if each is old else within(each) for each in body]

    def within(node: Any) -> Any:
        if not isinstance(node, cst.ClassDef) or node.name.value != name.partition(".")[0]:
            return node
        return node.with_changes(body=block(node.body).with_changes(body=exchanged(block(node.body).body)))

    return module.with_changes(body=exchanged(module.body))


def _with_imports(before: cst.Module, module: cst.Module, shard: Shard) -> cst.Module:
    """The shard with the imports that its merged code needs, and without those that only its old code needed."""
    used, was = used_names(module), used_names(before)
    bound = {name for node in module.body for name in _bound(node)}
    context = CodemodContext()
    if not (missing := used - was - bound) and not (was - used) & bound:
        return module
    for parent in shard.parents:
        for statement in parent.source.of_kind("import", "guard"):
            for node in imports_in(statement.node):
                if isinstance(node, cst.ImportFrom):
                    _add(context, node, missing, shard, parent)
    for node in (each for one in module.body for each in imports_in(one)):
        if isinstance(node, cst.ImportFrom):
            _remove(context, node, was - used)
    return RemoveImportsVisitor(context).transform_module(AddImportsVisitor(context).transform_module(module))


def _bound(node: cst.CSTNode) -> Iterator[str]:
    yield _name(node)
    for each in imports_in(node):
        yield from map(bound_name, aliases(each))


def _add(context: CodemodContext, node: cst.ImportFrom, wanted: Set[str], shard: Shard, parent: Parent) -> None:
    written = with_absolute_imports(shard, parent, node)
    for alias in aliases(written):
        if bound_name(alias) in wanted:
            names = (alias.evaluated_name, alias.evaluated_alias)
            AddImportsVisitor.add_needed_import(context, module_of(written), *names, relative=len(written.relative))


def _remove(context: CodemodContext, node: cst.ImportFrom, unused: Set[str]) -> None:
    for alias in aliases(node):
        if bound_name(alias) in unused:
            module = written_module(node)
            RemoveImportsVisitor.remove_unused_import(context, module, alias.evaluated_name, alias.evaluated_alias)


def _with_conflicts(text: str, sides: Sequence[tuple[Sides, Override, Recorded]]) -> str:
    """The text with both sides of each conflict at its place."""

    def both(match: re.Match[str]) -> str:
        each, override, known = sides[int(match[2])]
        parts = (
            f"<<<<<<< {override.name}",
            each.ours,
            f"||||||| {known.release}",
            each.base,
            "=======",
            each.theirs,
            f">>>>>>> {override.release}",
        )
        return "".join(_indented(part, match[1]) for part in parts)

    return _MARKED.sub(both, text)


def _indented(part: str, indent: str) -> str:
    if part.startswith(("<<<<<<<", "|||||||", "=======", ">>>>>>>")):
        return f"{part}\n"
    return textwrap.indent(part.strip("\n") + "\n", indent) if part.strip() else ""


def _texts(rebased: Iterable[Rebased]) -> dict[Path, str]:
    """The files to write: shards that changed, and the locks, in which what was merged is as the parents have it now."""
    texts: dict[Path, str] = {}
    locks: dict[Path, Lock] = {}
    for each in rebased:
        path = each.shard.path
        if each.text != each.before:
            texts[path] = each.text
        lock = locks.setdefault(path.parent, read_lock(path.parent))
        known = [override for override in each.overrides if override.name not in each.unrecorded]
        after = updated(lock, {path: known}, path.parent)
        if each.gone:  # until somebody has looked, they stay recorded
            after[path.name] = lock[path.name] | after.get(path.name, {})
        locks[path.parent] = after
    for folder, lock in locks.items():
        if lock != read_lock(folder):
            texts[folder / NAME] = render_lock(lock, formatter_of(folder))
    return texts


def _diff(rebased: Rebased) -> Iterator[str]:
    name = str(rebased.shard.path)
    before, after = rebased.before.splitlines(keepends=True), rebased.text.splitlines(keepends=True)
    return difflib.unified_diff(before, after, name, f"{name} (rebased)")


def _report(rebased: Rebased) -> Iterator[str]:
    """What became of the overrides of a shard."""
    path = rebased.shard.path
    if rebased.unrecorded:
        yield (
            f"{path.name}: what these replaced is not recorded: {', '.join(rebased.unrecorded)}; `hetero generate` records it, "
            "beside the release that they were written for"
        )
    yield from map(str, rebased.gone)
    if not (rebased.merged or rebased.conflicts or rebased.unrecorded or rebased.gone):
        yield f"{path.name}: no override is stale"
    for name in rebased.merged:
        yield f"{path.name}: merged {name}"
    marks = [number for number, line in enumerate(rebased.text.splitlines(), 1) if line.startswith("<<<<<<< ")]
    for name, line in zip(_names_at(rebased.text), marks, strict=True):
        yield f"{path}:{line}:1: conflict in {name}: keep what is right of both, and `hetero generate`"


def _names_at(text: str) -> list[str]:
    return [line.removeprefix("<<<<<<< ") for line in text.splitlines() if line.startswith("<<<<<<< ")]
