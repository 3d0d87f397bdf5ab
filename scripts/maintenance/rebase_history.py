"""`hetero rebase` against history: the shards of one release of transformers, rebased onto the parents of the next, and
compared piece by piece with the shards that its people rebased by hand.

    python -m transformers_heterogeneous.scripts.maintenance.rebase_history 5.22.2 5.23.0
"""

import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import libcst as cst

from ..command.drift import release_root
from ..command.rebase import find, rebase
from ..modular_converter.releases.lock import Recorded, is_stale
from ..modular_converter.releases.overrides import overrides_of
from ..modular_converter.shards.reading import read_shard
from ..modular_converter.sources.diagnostics import ShardError
from ..modular_converter.syntax.docstrings import statements
from ..modular_converter.syntax.tree import Edits, bare, block, code, rewrite, same_code


KINDS = (
    "identical",
    "equal but for comments",
    "equal with inherited decorators",
    "equal but for docstrings and annotations",
    "conflict",
    "different",
    "override gone",
)


@dataclass(frozen=True)
class Outcome:
    """What became of one stale override: its kind, and the piece merged and shipped, as text."""

    shard: str
    name: str
    kind: str
    merged: str = ""
    shipped: str = ""


def outcomes(before: Path, after: Path, folder: Path) -> Iterator[Outcome]:
    """
    Every override of the older release whose parent changed.

    Args:
        before: Folder that holds the package `transformers` of the older release.
        after: The same of the newer one.
        folder: Where a package of the newer parents and the older shards may be made.
    """
    mixed = folder / "transformers"
    shutil.copytree(after / "transformers", mixed)
    for shard in sorted((before / "transformers/models").glob("*/modular_*.py")):
        target = mixed / shard.relative_to(before / "transformers")
        shipped = after / shard.relative_to(before)
        if target.is_file():
            shutil.copyfile(shard, target)
            yield from _of_shard(shard, target, shipped)


def _of_shard(old: Path, mixed: Path, shipped: Path) -> Iterator[Outcome]:
    try:
        recorded = {
            each.name: Recorded(each.parent, each.release, each.whole, each.digest, each.text)
            for each in overrides_of(read_shard(old))
        }
        shard = read_shard(mixed)
        overrides = overrides_of(shard)
    except ShardError as error:
        yield Outcome(old.stem, str(error), "shard does not apply")
        return
    stale = [each for each in overrides if each.name in recorded and is_stale(each, recorded[each.name])]
    if not stale:
        return
    rebased = rebase(shard, overrides, recorded)
    theirs = cst.parse_module(shipped.read_text(encoding="utf-8"))
    for each in stale:
        if each.name in rebased.conflicts:
            yield Outcome(old.stem, each.name, "conflict", rebased.text)
        else:
            yield _compared(old.stem, each.name, rebased.module, theirs)


def _compared(shard: str, name: str, merged: cst.Module, shipped: cst.Module) -> Outcome:
    try:
        mine, theirs = bare(find(merged, name)), bare(find(shipped, name))
    except StopIteration:
        return Outcome(shard, name, "override gone")
    return Outcome(shard, name, _kind(mine, theirs), code(mine), code(theirs))


def _kind(merged: cst.CSTNode, shipped: cst.CSTNode) -> str:
    if code(merged) == code(shipped):
        return "identical"
    if same_code(merged, shipped):
        return "equal but for comments"
    plain: Edits = {cst.FunctionDef: lambda node: node.with_changes(decorators=())}
    if same_code(rewrite(merged, plain), rewrite(shipped, plain)):  # a method without decorators has its parent's
        return "equal with inherited decorators"
    said: Edits = {
        cst.FunctionDef: lambda node: without_docstring(node).with_changes(decorators=(), returns=None),
        cst.ClassDef: without_docstring,
        cst.Param: lambda node: node.with_changes(annotation=None),
    }
    if same_code(rewrite(merged, said), rewrite(shipped, said)):
        return "equal but for docstrings and annotations"
    return "different"


def without_docstring(node: Any) -> Any:
    """A class or a function without its docstring."""
    body = block(node.body)
    return node.with_changes(body=body.with_changes(body=statements(body.body)))


def main(before: str, after: str, show: bool = False) -> None:
    """Print the counts, and with `show` the pieces that differ."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        older, newer = (release_root(each, folder / Path(each).name) for each in (before, after))
        found = list(outcomes(older, newer, folder / "mixed"))
    counts = Counter(each.kind for each in found)
    print(f"{before} -> {after}: {len(found)} stale overrides in {len({each.shard for each in found})} shards")
    for kind in (*KINDS, *(counts.keys() - set(KINDS))):
        print(f"  {kind}: {counts[kind]}")
    for each in found if show else ():
        if each.kind not in KINDS[:4]:
            print(f"\n{each.kind}: {each.shard} {each.name}\n--- merged\n{each.merged}\n--- shipped\n{each.shipped}")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], "--show" in sys.argv[3:])
