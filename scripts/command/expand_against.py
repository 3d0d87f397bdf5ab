"""`hetero generate --against RELEASE`: the families expanded from the parents of another release, from the same shards.

Overrides are merged onto that release's pieces, as `hetero rebase` does. What the merge cannot decide, and what of our own
the release needs otherwise, stands in partial shards in `modular/releases/5.N/`, which hold for 5.N and what is older.
"""

import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

import libcst as cst

from transformers_heterogeneous.integrations.installing import how_to_install

from ..modular_converter.output.package import render_package
from ..modular_converter.releases.lock import (
    NAME,
    BrokenLock,
    Lock,
    Override,
    Recorded,
    diff_of,
    read_lock,
    render_lock,
)
from ..modular_converter.releases.overlay import Overlaid, overlay, pieces_in
from ..modular_converter.releases.overrides import digest_of, overrides_of
from ..modular_converter.run import Run, expand
from ..modular_converter.shards.reading import read_shard
from ..modular_converter.sources.diagnostics import Diagnostic, ShardError
from ..modular_converter.sources.paths import installed_version
from ..modular_converter.sources.siblings import in_order, is_shard, siblings_of
from ..modular_converter.sources.source import SourceFile, read_source
from .drift import NoRelease, launch, release_root
from .generate import locks_of, write_files
from .problems import make_strict
from .project import HOUSE
from .rebase import Rebased, rebase
from .versions import parents_version


SHARDS_LOCK = "shards.lock"
INSTALLED = "installed"
Minor = tuple[int, ...]


@dataclass
class Decided:
    """A piece of a partial shard: the folder that it stands in, its place there, and what of the shard it replaced."""

    folder: Path
    path: Path
    place: tuple[int, int]
    replaced: Recorded | None


@dataclass
class Assembly:
    """The shards for a release by file name, what their overrides replaced as far as that is recorded, and the pieces that
    a person decided, by shard and name."""

    texts: dict[str, str]
    lock: Lock
    decided: dict[str, dict[str, Decided]] = field(default_factory=dict)
    problems: list[Diagnostic] = field(default_factory=list)


def generate_against(against: str, out: Path | None, accept: Iterable[str] = ()) -> int:
    """
    Expand all families for another release into a folder, with the shards as they are for it in `modular/` beside them.

    Args:
        against: A version, a wheel, a folder that holds the package `transformers` or a wheel of it, or `installed`.
        out: The folder.
        accept: Names of pieces in `modular/releases` that still hold though the shard has changed what they replaced; or
            `all`.

    Returns:
        0 when it is written, 2 when it could not be done, with the reasons on stderr.
    """
    if out is None:
        return _failed("--against needs --out DIR: in the repository stands the newest expansion alone")
    if against == INSTALLED:
        return expand_for_installed(HOUSE / "modular", out, accept)
    with tempfile.TemporaryDirectory() as folder:
        try:
            release = release_root(against, Path(folder))
        except NoRelease as error:
            return _failed(str(error))
        accepted = (part for name in accept for part in ("--accept", name))
        arguments = ["generate", "--against", INSTALLED, "--out", str(out.absolute()), *accepted]
        done = launch(arguments, release, Path(folder) / "cache")
        sys.stdout.write(done.stdout)
        sys.stderr.write(done.stderr)
        return done.returncode


def with_code_for(release: str, use: Callable[[Path | bool], int]) -> int:
    """What `use` returns of the folder with the families' code for a release; of True where it is that of the package."""
    if minor_of(release) == minor_of(parents_version()):
        return use(True)
    if missing := [name for name in ("libcst", "merge3", "ruff") if find_spec(name) is None]:
        message = f"--code-for {release} expands the families, and {', '.join(missing)} is missing"
        return _failed(f"{message}: {how_to_install('generator')}")
    with tempfile.TemporaryDirectory() as folder:
        with redirect_stdout(sys.stderr):  # what is printed may be JSON
            status = generate_against(release, Path(folder))
        return status or use(Path(folder))


def _failed(reason: str) -> int:
    print(f"hetero generate: {reason}", file=sys.stderr)
    return 2


def expand_for_installed(modular: Path, out: Path, accept: Iterable[str] = ()) -> int:
    """The same for the transformers that this process finds."""
    release = installed_version("transformers")
    if not folders_of(modular):
        return _failed(
            f"{modular} has no releases/: these shards are for one release; take a checkout of the repository"
        )
    try:
        assembly = assemble(modular, minor_of(release), accept)
        if assembly.problems:
            raise ShardError(assembly.problems)
        run = _expanded(assembly, out)
    except (ShardError, BrokenLock) as error:
        return _failed(str(error))
    for problem in run.diagnostics():
        print(problem, file=sys.stderr)
    if run.failed:
        return 2
    records = _records(assembly, run, modular, minor_of(release))
    if problems := write_files(run.files | locks_of(run) | records):
        return _failed("\n".join(map(str, problems)))
    merged = sum(map(len, assembly.decided.values()))
    print(
        f"transformers {release}: {run.shards} shards, {len(run.files)} files written; {merged} pieces of {modular.name}/releases"
    )
    return 0


def minor_of(version: str) -> Minor:
    """`(5, 19)` of `5.19.0`."""
    return tuple(int(part) for part in re.findall(r"\d+", version)[:2])


def folders_of(modular: Path) -> list[Path]:
    """The folders of releases that the shards are adapted for, the newest first."""
    found = [path for path in (modular / "releases").glob("*") if re.fullmatch(r"\d+\.\d+", path.name)]
    return sorted(found, key=lambda path: minor_of(path.name), reverse=True)


def assemble(modular: Path, minor: Minor, accept: Iterable[str] = ()) -> Assembly:
    """The shards for a release, before their overrides are merged onto its parents. Raises ShardError and BrokenLock."""
    shards = sorted(modular.glob("modular_*.py"))
    assembly = Assembly({path.name: path.read_text(encoding="utf-8") for path in shards}, dict(read_lock(modular)))
    for folder in folders_of(modular):
        if minor <= minor_of(folder.name):
            for path in sorted(folder.glob("*.py")):
                _adapt(assembly, path, minor, frozenset(accept))
    return assembly


def _adapt(assembly: Assembly, path: Path, minor: Minor, accept: frozenset[str]) -> None:
    """Put the pieces of a partial shard in their places."""
    if path.name not in assembly.texts:
        raise ShardError([Diagnostic(path, 1, 1, f"there is no shard {path.name} that this could be a part of")])
    partial = read_source(path)
    done = overlay(cst.parse_module(assembly.texts[path.name]), partial)
    assembly.texts[path.name] = done.module.code
    replaced = read_lock(path.parent, SHARDS_LOCK).get(path.name, {})
    parents = read_lock(path.parent).get(path.name, {})
    decided = _decided(done, path, partial)
    assembly.decided.setdefault(path.name, {}).update(decided)
    if not {"all"} & accept:
        assembly.problems += _stale(decided, replaced, accept)
    own = minor == minor_of(path.parent.name)
    known = dict(assembly.lock.get(path.name, {}))
    for name in done.names:
        known.pop(name, None)
        if name in parents:
            known[name] = parents[name]
        elif not own and name in done.replaced and name not in replaced:
            message = (
                f"what {name} replaced is not recorded: `hetero generate --against {path.parent.name}` records it"
            )
            assembly.problems.append(Diagnostic(path, *decided[name].place, message))
    assembly.lock[path.name] = known


def _decided(done: Overlaid, path: Path, partial: SourceFile) -> dict[str, Decided]:
    places = pieces_in(done.names, partial)
    return {name: Decided(path.parent, path, places[name], _piece(path, name, done)) for name in done.names}


def _piece(path: Path, name: str, done: Overlaid) -> Recorded | None:
    """What a piece of a partial shard replaced of the shard."""
    if (text := done.replaced.get(name)) is None:
        return None
    digest = digest_of(text)
    return Recorded(f"{path.stem}:{name}", path.stem, digest, digest, text)


def _stale(
    decided: Mapping[str, Decided], recorded: Mapping[str, Recorded], accept: frozenset[str]
) -> Iterator[Diagnostic]:
    """Pieces of partial shards that replace what the shard has changed, or no longer has."""
    for name, known in recorded.items():
        piece = decided.get(name)
        if piece is None or name in accept:
            continue
        remedy = f"bring it up to date, and then `hetero generate --against {piece.folder.name} --accept {name}`"
        if piece.replaced is None:
            message = f"{name} took the place of one in {known.release}.py, which is there no longer: {remedy}"
            yield Diagnostic(piece.path, *piece.place, message)
        elif piece.replaced.digest != known.digest:
            lines = [
                f"{known.release}.py has changed what {name} takes the place of:",
                *diff_of(known, piece.replaced),
            ]
            yield Diagnostic(piece.path, *piece.place, "\n".join([*lines, f"  {remedy}"]))


def _expanded(assembly: Assembly, out: Path) -> Run:
    """Merge the overrides, write the shards where they can be looked at, and expand them."""
    folder = out / "modular"
    for name, text in assembly.texts.items():
        _write(folder / name, text)
    rebased = list(_rebased([folder / name for name in assembly.texts], out, assembly.lock))
    if conflicts := [problem for each in rebased for problem in _conflicts(each)]:
        raise ShardError(conflicts)
    read_source.cache_clear()
    run = make_strict(expand(sorted(folder.glob("modular_*.py")), lambda path: out, render_package))
    run.problems += [problem for each in rebased for problem in each.gone]
    (folder / NAME).unlink(missing_ok=True)  # what is expanded now is what its overrides are for
    return run


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_symlink():
        raise ShardError(
            [Diagnostic(path, 1, 1, f"is a link, to {os.readlink(path)}, and is not followed: remove it")]
        )
    path.write_text(text, encoding="utf-8")


def _rebased(paths: Sequence[Path], out: Path, lock: Lock) -> Iterator[Rebased]:
    """Merge the overrides of each shard and write it, after the siblings that it inherits from, which are expanded."""
    ordered, needed, _ = in_order(paths)
    fresh: dict[Path, str] = {}
    bases: list[Path] = []  # which inherit from one another, too
    for path in filter(is_shard, ordered):
        shard = read_shard(path, siblings_of(path, lambda each: out, fresh))
        rebased = rebase(shard, overrides_of(shard), lock.get(path.name, {}))
        _write(path, rebased.text)
        if path in needed and not rebased.conflicts:
            read_source.cache_clear()
            bases.append(path)
            run = expand(bases, lambda each: out)
            if run.failed:
                raise ShardError(run.diagnostics())
            fresh |= run.files
        yield rebased


def _conflicts(rebased: Rebased) -> Iterator[Diagnostic]:
    """What the merge could not decide, at its place in the shard for the release."""
    lines = rebased.text.splitlines()
    for name in rebased.conflicts:
        line = lines.index(f"<<<<<<< {name}") + 1
        message = f"conflict in {name}: decide it in a partial shard, modular/releases/5.N/{rebased.shard.path.name}"
        yield Diagnostic(rebased.shard.path, line, 1, message)


def _records(assembly: Assembly, run: Run, modular: Path, minor: Minor) -> dict[Path, str]:
    """The locks of the release's own folder, where the run is for it."""
    folder = modular / "releases" / ".".join(map(str, minor))
    if not folder.is_dir():
        return {}
    parents: Lock = {}
    shards: Lock = {}
    for name, decided in assembly.decided.items():
        own = {piece for piece, each in decided.items() if each.folder == folder}
        overrides = next((found for path, found in run.overrides.items() if path.name == name), [])
        parents[name] = {each.name: _of_parent(each) for each in overrides if each.name in own}
        shards[name] = {piece: known for piece in sorted(own) if (known := decided[piece].replaced)}
    return {folder / NAME: render_lock(parents), folder / SHARDS_LOCK: render_lock(shards)}


def _of_parent(override: Override) -> Recorded:
    return Recorded(override.parent, override.release, override.whole, override.digest, override.text)
