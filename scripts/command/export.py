"""`hetero export`: families as a pull request, laid into a source tree of transformers."""

import sys
from collections.abc import Sequence
from pathlib import Path

from ..modular_converter.sources.diagnostics import nearest
from ..modular_converter.sources.siblings import is_shard
from ..upstreaming.exporting import Export, export_of
from ..upstreaming.source_tree import SourceTree
from ..upstreaming.tree_imports import SHARED_SHARD, CannotExport
from .generate import write_files
from .project import HOUSE
from .small import small_decoder


def export_command(checkout: Path, families: Sequence[str], dry_run: bool) -> int:
    """
    Write the files of families into a source tree.

    Args:
        families: names of the package's own, or folders that have the shards of others.

    Returns:
        0 when all is written, or was there; 2 when it could not be, with the reasons on stderr; nothing is changed then.
    """
    tree = SourceTree(checkout)
    try:
        package = HOUSE / "generated" if (HOUSE / "generated").exists() else HOUSE
        export = export_of([shard_of(name) for name in families], tree, package, small_decoder)
        if reasons := list(tree.in_the_way(export.whole)):
            raise CannotExport(*reasons)
    except CannotExport as error:
        print(f"hetero export: {error}", file=sys.stderr)
        return 2
    said = states(export, tree)
    changed = {tree.root / name: text for name, text in export.files.items() if said[name] != "same"}
    if not dry_run and (
        problems := write_files({**changed, tree.record: tree.noted(export.whole)} if changed else {})
    ):
        print("\n".join(map(str, problems)), file=sys.stderr)
        return 2
    for name, state in sorted(said.items()):
        print(f"{state:8} {name}")
    for note in dict.fromkeys(export.notes):
        print(note)
    print(f"{len(changed)} of {len(said)} files {'would be written' if dry_run else 'written'}")
    return 0


def shard_of(family: str) -> Path:
    """The shard of a family of the package, or of the folder or file that is named."""
    path = Path(family)
    if path.is_file():
        return path.resolve()
    if path.is_dir():
        shards = [each for each in sorted(path.glob("modular_*.py")) if is_shard(each)]
        if len(shards) != 1:
            raise CannotExport(f"{path} has {len(shards)} shards, and one is needed: name the file")
        return shards[0].resolve()
    own = {
        each.stem.removeprefix("modular_"): each for each in (HOUSE / "modular").glob("modular_*.py") if is_shard(each)
    }
    own.pop(SHARED_SHARD.removeprefix("modular_"), None)
    found = own.get(family) or own.get(f"heterogeneous_{family}")
    if found is None:
        raise CannotExport(f"there is no family {family!r}, nor a folder with its shard{nearest(family, own)}")
    return found


def states(export: Export, tree: SourceTree) -> dict[str, str]:
    """Of each file whether it is new, changed, or what it was."""
    found = {}
    for name, text in export.files.items():
        path = tree.root / name
        same = path.is_file() and path.read_text(encoding="utf-8") == text
        found[name] = "same" if same else "changed" if path.exists() else "new"
    return found
