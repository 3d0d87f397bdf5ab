"""`hetero drift`: what another release of transformers would change in the families, class by class."""

import difflib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import libcst as cst

from ..modular_converter.cache.storage import recalled_dependencies
from ..modular_converter.shards.shard import exports
from ..modular_converter.sources.diagnostics import ShardError
from ..modular_converter.sources.paths import installed_folder
from ..modular_converter.sources.siblings import siblings_of, with_needed
from ..modular_converter.sources.source import read_source
from ..modular_converter.syntax.tree import bare, block, code, small
from .project import project_of


LAUNCH = "import hetero; hetero.main()"
Pieces = dict[str, str]


@dataclass(frozen=True)
class Change:
    """A piece of a generated file that differs: `HeterogeneousLlamaAttention.forward`, with both texts."""

    name: str
    before: str
    after: str

    @property
    def kind(self) -> str:
        return "added" if not self.before else "removed" if not self.after else "changed"

    def diff(self) -> str:
        """The change as a unified diff without file names."""
        lines = difflib.unified_diff(self.before.splitlines(), self.after.splitlines(), lineterm="", n=2)
        return "\n".join(line for line in lines if not line.startswith(("---", "+++")))


class NoRelease(Exception):
    """Why the other release cannot be read, and what to do."""


def drift_command(against: str | None, shards: list[Path] | None) -> int:
    """
    Expand every family against the installed parents and against another release, and print what differs.

    Args:
        against: A version, a wheel, or a folder that holds the package `transformers`; the newest release by default.
        shards: Shards to look at; all of modular/ by default.

    Returns:
        0 when nothing changes, 1 when something does or a shard no longer applies, 2 when it could not be found out.
    """
    try:
        shards = shards or [path for path in project_of(Path()).shards if has_outputs(path)]
    except ShardError as error:
        print(f"hetero drift: {error}", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as folder:
        try:
            release = release_root(against, Path(folder))
        except NoRelease as error:
            print(f"hetero drift: {error}", file=sys.stderr)
            return 2
        print(f"installed parents against {release_name(release)}")
        groups: dict[Path, list[Path]] = {}
        for shard in shards:
            groups.setdefault(shard.resolve().parent, []).append(shard)
        return max([_drift_of(group, release, Path(folder)) for group in groups.values()], default=0)


def has_outputs(shard: Path) -> bool:
    """Whether anything is expanded from a shard: helper shards have no `__all__`."""
    return exports(read_source(shard)) is not None


def _drift_of(shards: Sequence[Path], release: Path, parent: Path) -> int:
    """Print what changes in the families of a folder; 0 or 1, or 2 where a shard does not even expand with what is
    installed. All go together, and where something is wrong with one, each goes alone."""
    folder = Path(tempfile.mkdtemp(dir=parent))
    error = expand_into(shards, folder / "installed")
    if not error and all(is_unchanged(shard, folder / "installed", release) for shard in shards):
        print("".join(f"\n{shard.stem}: the shard applies, 0 pieces change\n" for shard in shards), end="")
        return 0
    modular = Path(shutil.copytree(shards[0].resolve().parent, folder / "modular"))
    shutil.copytree(folder / "installed", folder / "generated")
    rebased = [modular / shard.name for shard in shards]
    standings = {} if error else standings_of(rebased, release)
    failed = error or next((each.error for each in standings.values() if each.error), "")
    failed = failed or expand_into(rebased, folder / "other", release)
    if failed and len(shards) > 1:
        return max(_drift_of([shard], release, parent) for shard in shards)
    if error:
        print(f"\n{shards[0].stem}: does not expand with the installed parents\n{error}", file=sys.stderr)
        return 2
    if failed:
        standing = standings[shards[0].name]
        words = standing.words if standing.conflicts else "the shard no longer applies"
        print(f"\n{shards[0].stem}: {words}\n{failed}")
        return 1
    found = 0
    for shard in shards:
        changes = list(changes_between(folder / "installed", folder / "other", shard.stem.removeprefix("modular_")))
        found += len(changes)
        words = standings[shard.name].words
        print(f"\n{shard.stem}: {words}, {len(changes)} pieces change" + "".join(map(change_text, changes)))
    return int(bool(found))


def is_unchanged(shard: Path, out: Path, release: Path) -> bool:
    """Whether a release has all that the expansion of a shard is made of as the installed one has it."""
    siblings = siblings_of(shard.resolve(), lambda each: out, {})
    dependencies, installed = recalled_dependencies(shard.resolve(), siblings), installed_folder("transformers")
    if dependencies is None or installed is None:
        return False
    theirs = [
        replace(each, path=str(release / "transformers" / Path(each.path).relative_to(installed)))
        for each in dependencies
        if Path(each.path).is_relative_to(installed) and Path(each.path) != installed / "__init__.py"  # the version
    ]
    return all(each.unchanged() for each in theirs)


@dataclass(frozen=True)
class Standing:
    """What `hetero rebase` makes of a shard: the overrides that merge, those that do not, and why nothing can be said."""

    merged: tuple[str, ...] = ()
    conflicts: tuple[str, ...] = ()
    error: str = ""

    @property
    def words(self) -> str:
        if self.conflicts:
            return f"`hetero rebase` conflicts in {', '.join(self.conflicts)}"
        return f"`hetero rebase` merges {', '.join(self.merged)}" if self.merged else "the shard applies"


def standings_of(shards: Sequence[Path], release: Path) -> dict[str, Standing]:
    """Rebase copies of shards onto a release, in a process whose first `transformers` that is; by their names."""
    done = launch(["rebase", *map(str, shards)], release)
    error = {0: "", 1: done.stdout.strip()}.get(done.returncode, done.stderr.strip() or "no reason given")
    found = {}
    for shard in shards:
        name = re.escape(shard.name)
        merged = re.findall(rf"(?m)^{name}: merged (\S+)$", done.stdout)
        conflicts = dict.fromkeys(re.findall(rf"/{name}:\d+:1: conflict in (\S+): ", done.stdout))
        found[shard.name] = Standing(tuple(merged), tuple(conflicts), error)
    return found


def change_text(change: Change) -> str:
    return f"\n\n  {change.kind}: {change.name}\n" + "\n".join(f"    {line}" for line in change.diff().splitlines())


def expand_into(shards: Sequence[Path], out: Path, release: Path | None = None) -> str:
    """Expand shards, and those that they inherit from, with the parents of a release; their errors."""
    out.mkdir(parents=True)
    needed = dict.fromkeys(str(each) for shard in shards for each in with_needed(shard.resolve()))
    cache = out.parent / "cache" if release else None  # what is remembered of the installed parents stays
    done = launch(["generate", *needed, "--out", str(out), "--no-lock"], release, cache)
    return done.stderr.strip() or "no reason given" if done.returncode else ""


def launch(arguments: list[str], release: Path | None, cache: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run `hetero` in a process of its own, whose first `transformers` is that of the release."""
    environment = {**os.environ, **({"XDG_CACHE_HOME": str(cache)} if cache else {})}
    if release is not None:
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, (str(release), environment.get("PYTHONPATH"))))
    command = [sys.executable, "-c", LAUNCH, *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def release_root(against: str | None, folder: Path) -> Path:
    """A folder to put on the import path, so that `transformers` is the release meant."""
    path = Path(against) if against else None
    if path is not None and path.is_dir():
        roots = [root for root in (path, path / "src", path.parent) if (root / "transformers" / "models").is_dir()]
        return roots[0].resolve() if roots else unpacked(the_wheel_in(path), folder / "release")
    if path is not None and path.suffix == ".whl":
        return unpacked(path, folder / "release")
    if against is not None and not re.fullmatch(r"\d+(\.\w+)*", against):
        raise NoRelease(f"{against!r} is no folder, no wheel and no version such as 5.22.0")
    return unpacked(downloaded(against, folder / "wheel"), folder / "release")


def the_wheel_in(folder: Path) -> Path:
    """The one wheel of transformers in a folder."""
    wheels = sorted(folder.glob("transformers-*.whl"))
    if len(wheels) == 1:
        return wheels[0]
    if wheels:
        raise NoRelease(
            f"{folder}: holds several wheels of transformers, {', '.join(each.name for each in wheels)}: give one"
        )
    raise NoRelease(f"{folder}: holds no package transformers; give the folder that does, or a wheel")


def downloaded(version: str | None, folder: Path) -> Path:
    """The wheel of a release, fetched by pip."""
    if version:
        version = f"{version}.*" if re.fullmatch(r"\d+\.\d+", version) else version  # of a minor release, the last
    requirement = f"transformers=={version}" if version else "transformers"
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder), requirement]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise NoRelease(f"pip cannot download {requirement}: {done.stderr.strip().splitlines()[-1]}")
    return next(folder.glob("*.whl"))


def unpacked(wheel: Path, folder: Path) -> Path:
    """The Python files and metadata of a wheel."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(folder, [name for name in archive.namelist() if name.endswith((".py", "METADATA"))])
    except (OSError, zipfile.BadZipFile) as error:
        raise NoRelease(f"{wheel}: not a wheel that can be read: {error}") from error
    return folder


def release_name(root: Path) -> str:
    """`transformers 5.22.0`, from the package's own text."""
    match = re.search(r'__version__ = "([^"]+)"', (root / "transformers/__init__.py").read_text(encoding="utf-8"))
    return f"transformers {match[1] if match else 'of unknown version'}"


def changes_between(before: Path, after: Path, model: str) -> Iterator[Change]:
    """What differs between the files of a model in two folders, in the order of the files."""
    names = sorted({path.name for folder in (before, after) for path in folder.glob(f"*_{model}.py")})
    for name in names:
        old, new = pieces(before / name), pieces(after / name)
        for piece in [*new, *(piece for piece in old if piece not in new)]:
            if old.get(piece, "") != new.get(piece, ""):
                yield Change(piece, old.get(piece, ""), new.get(piece, ""))


def pieces(path: Path) -> Pieces:
    """The classes of a file by header, attribute and method, its functions and constants, and its imports as one."""
    if not path.exists():
        return {}
    found: Pieces = {}
    for node in cst.parse_module(path.read_text(encoding="utf-8")).body:
        if isinstance(node, cst.ClassDef):
            found |= class_pieces(node)
        else:
            add(found, piece_name(node) or "imports", code(bare(node)))
    return found


def add(found: Pieces, name: str, text: str) -> None:
    """Add a piece; several of one name become one."""
    text = text.strip("\n")
    found[name] = f"{found[name]}\n{text}" if name in found else text


def class_pieces(node: cst.ClassDef) -> Pieces:
    """Header, attributes and methods of a class by their dotted names."""
    name = node.name.value
    decorators = "".join(code(each.with_changes(leading_lines=())) for each in node.decorators)
    bases = ", ".join(
        code(each.with_changes(comma=cst.MaybeSentinel.DEFAULT)) for each in (*node.bases, *node.keywords)
    )
    found = {name: f"{decorators}class {name}({bases}):\n{node.get_docstring() or ''}"}
    for member in block(node.body).body:
        if inner := piece_name(member):
            add(found, f"{name}.{inner}", code(cst.IndentedBlock([bare(member)])))
    return found


def piece_name(statement: cst.BaseStatement) -> str | None:
    """The name that a definition or an assignment binds."""
    node = small(statement)
    if isinstance(node, cst.FunctionDef):
        return node.name.value
    if isinstance(node, cst.Assign):
        return code(node.targets[0].target)
    return code(node.target) if isinstance(node, cst.AnnAssign) else None
