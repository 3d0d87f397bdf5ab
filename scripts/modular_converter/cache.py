"""What was expanded before, remembered by content: that of the shard, and that of what was used of its parents.

One file a shard in a folder that may be deleted at any time. Processes share it: a file is replaced whole or not at all,
and one that cannot be read counts as not there.
"""

import hashlib
import json
import os
import tempfile
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path

from .diagnostics import ShardError
from .resolve import installed_folder
from .shard import Parent, Shard
from .siblings import Siblings
from .source import SourceFile, read_source
from .tree import code


@dataclass(frozen=True)
class Dependency:
    """A file that an expansion read: the digest of its content, and of those definitions of it that were used."""

    path: str
    content: str
    used: str
    names: tuple[str, ...]

    def unchanged(self) -> bool:
        """Whether expanding again would find the same there."""
        path = Path(self.path)
        if not path.is_file():
            return False
        return file_digest(path) == self.content or (
            bool(self.names) and used_digest(read_source(path), self.names) == self.used
        )


@dataclass(frozen=True)
class Remembered:
    """The formatted files of a shard by name, what the package needs to know of it, and its warnings (file, line,
    column, text)."""

    files: Mapping[str, str]
    modules: Mapping[str, tuple[str, ...]]
    config: str
    warnings: tuple[tuple[str, int, int, str], ...] = ()


def cache_folder() -> Path:
    """Where expansions are remembered."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "transformers-heterogeneous" / "modular"


def recall(shard: Path, siblings: Siblings) -> Remembered | None:
    """The expansion of a shard, if it was remembered and nothing it depends on has changed since."""
    try:
        record = json.loads(record_path(shard).read_text(encoding="utf-8"))
        dependencies = [Dependency(**{**each, "names": tuple(each["names"])}) for each in record["dependencies"]]
        if record["generator"] != generator_digest() or record["packages"] != found_packages(record["packages"]):
            return None
        if any(siblings.digest(module) != digest for module, digest in record["siblings"].items()):
            return None
        if not all(each.unchanged() for each in dependencies):
            return None
        modules = {module: tuple(names) for module, names in record["modules"].items()}
        warnings = tuple((file, line, column, message) for file, line, column, message in record["warnings"])
        return Remembered(record["files"], modules, record["config"], warnings)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ShardError):
        return None


Record = dict[str, object]


def record_of(shard: Shard) -> Record:
    """Everything that an expansion of the shard depends on."""
    return {
        "generator": generator_digest(),
        "packages": found_packages(parent_packages(shard)),
        "siblings": {each.source.path.stem: shard.siblings.digest(each.source.path.stem) for each in siblings(shard)},
        "dependencies": [asdict(each) for each in dependencies_of(shard)],
    }


def remember(shard: Path, record: Record, remembered: Remembered) -> None:
    """Keep an expansion. A folder that cannot be written to is no reason to fail: the next run expands again."""
    target = record_path(shard)
    with suppress(OSError):
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent) as folder:
            whole = Path(folder) / target.name
            whole.write_text(json.dumps(record | asdict(remembered)), encoding="utf-8")
            os.replace(whole, target)


def siblings(shard: Shard) -> list[Parent]:
    """The parents that other shards of the same folder expand to."""
    return [parent for parent in shard.parents if parent.is_sibling]


def record_path(shard: Path) -> Path:
    return cache_folder() / f"{hashlib.sha256(str(shard).encode()).hexdigest()[:32]}.json"


def dependencies_of(shard: Shard) -> list[Dependency]:
    """Everything an expansion read: whole files of our own, of parents what was used."""
    names: dict[int, list[str]] = {index: [] for index in range(len(shard.parents))}
    for index, name in shard.used:
        names[index].append(name)
    parents = [
        dependency(shard.parents[index].source.path, sorted(found))
        for index, found in names.items()
        if not shard.parents[index].is_sibling
    ]
    own = [
        dependency(path, [])
        for path in (shard.path, *(helper.path for helper in shard.helpers), *package_files(shard))
    ]
    return own + parents


def package_files(shard: Shard) -> list[Path]:
    """The files that say which models there are, and the parents' versions."""
    root = shard.home.root or installed_folder("transformers")
    mappings = (
        []
        if root is None
        else [root / "models" / "auto" / name for name in ("auto_mappings.py", "configuration_auto.py")]
    )
    folders = [folder for package in parent_packages(shard) if (folder := installed_folder(package))]
    return [path for path in (*mappings, *(folder / "__init__.py" for folder in folders)) if path.is_file()]


def parent_packages(shard: Shard) -> list[str]:
    """The top-level packages that the parents are imported from."""
    modules = {parent.module for parent in shard.parents if not parent.module.startswith(".")}
    return sorted({"transformers", *(module.partition(".")[0] for module in modules)})


def found_packages(names: Iterable[str]) -> dict[str, str]:
    """Where packages are imported from now: another environment may have another release."""
    return {name: str(installed_folder(name)) for name in names}


def dependency(path: Path, names: list[str]) -> Dependency:
    used = used_digest(read_source(path), names) if names else ""
    return Dependency(str(path), file_digest(path), used, tuple(names))


def file_digest(path: Path) -> str:
    status = path.stat()
    return _digest(path, status.st_mtime_ns, status.st_size)


@cache
def _digest(path: Path, modified: int, size: int) -> str:
    """Many shards have the same parents: each version of a file is hashed once in a process."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def used_digest(source: SourceFile, names: Iterable[str]) -> str:
    """Digest of the used definitions with the comments above them, of header and imports, and of the names that there
    are: what a definition brings along depends on these."""
    digest = hashlib.sha256(source.header.encode())
    for statement in source.statements:
        text = statement.code if statement.kind in ("import", "guard") else ""
        digest.update(f"{statement.kind}:{statement.name}:{text}\n".encode())
    for name in names:
        digest.update("".join(map(code, source.definitions[name].nodes)).encode() + b"\n")
    return digest.hexdigest()


@cache
def generator_digest() -> str:
    """Digest of the generator's own code and of the formatter's version."""
    digest = hashlib.sha256(f"{version('ruff')} {version('libcst')}".encode())
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()
