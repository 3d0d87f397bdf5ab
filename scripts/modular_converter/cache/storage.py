"""What was expanded before, remembered by content: that of the shard, and that of what was used of its parents.

One file a shard in a folder that may be deleted at any time. Processes share it: a file is replaced whole or not at all,
and one that cannot be read, or is not what was written, counts as not there.
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
from typing import Any

from ..output.package import Family
from ..releases.lock import Override
from ..sources.diagnostics import ShardError
from ..sources.paths import installed_folder
from ..sources.siblings import Siblings


UNREADABLE = (OSError, ValueError, KeyError, TypeError, AttributeError, ShardError)


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
        return file_digest(path) == self.content or (bool(self.names) and self._uses_the_same(path))

    def _uses_the_same(self, path: Path) -> bool:
        from .used_code import used_digest  # only now has something to be parsed

        try:
            return used_digest(path, self.names) == self.used
        except (KeyError, ShardError):  # a name is gone, or it is no Python
            return False


@dataclass(frozen=True)
class Remembered:
    """The formatted files of a shard by name, what the package needs to know of it, its warnings (file, line, column,
    text), and what it replaces."""

    files: Mapping[str, str]
    family: Family
    warnings: tuple[tuple[str, int, int, str], ...] = ()
    overrides: tuple[Override, ...] = ()


def cache_folder() -> Path:
    """Where expansions are remembered."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "transformers-heterogeneous" / "modular"


def recall(shard: Path, siblings: Siblings) -> Remembered | None:
    """The expansion of a shard, if it was remembered and nothing it depends on has changed since."""
    try:
        record, _ = _recalled(shard, siblings)
        known = record["family"]
        modules = {module: tuple(names) for module, names in known["modules"].items()}
        family = Family(modules, known["config"], tuple(known["configs"]))
        warnings = tuple((file, line, column, message) for file, line, column, message in record["warnings"])
        overrides = tuple(Override(**each) for each in record["overrides"])
        return Remembered(record["files"], family, warnings, overrides)
    except UNREADABLE:
        return None


def recalled_dependencies(shard: Path, siblings: Siblings) -> list[Dependency] | None:
    """What a remembered expansion depends on, if it still holds."""
    try:
        return _recalled(shard, siblings)[1]
    except UNREADABLE:
        return None


def _recalled(shard: Path, siblings: Siblings) -> tuple[dict[str, Any], list[Dependency]]:
    """The record of an expansion and its dependencies; a ValueError where something has changed since."""
    digest, _, text = record_path(shard).read_text(encoding="utf-8").partition("\n")
    if digest != _text_digest(text):
        raise ValueError("not what was written")
    record = json.loads(text)
    dependencies = [Dependency(**{**each, "names": tuple(each["names"])}) for each in record["dependencies"]]
    if not (
        record["generator"] == generator_digest()
        and record["packages"] == found_packages(record["packages"])
        and all(siblings.digest(module) == digest for module, digest in record["siblings"].items())
        and all(each.unchanged() for each in dependencies)
    ):
        raise ValueError("something has changed")
    return record, dependencies


Record = dict[str, object]


def remember(shard: Path, record: Record, remembered: Remembered) -> None:
    """Keep an expansion. A folder that cannot be written to is no reason to fail: the next run expands again."""
    target = record_path(shard)
    with suppress(OSError):
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent) as folder:
            whole = Path(folder) / target.name
            text = json.dumps(record | asdict(remembered))
            whole.write_text(f"{_text_digest(text)}\n{text}", encoding="utf-8")
            os.replace(whole, target)


def _text_digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def record_path(shard: Path) -> Path:
    return cache_folder() / f"{hashlib.sha256(str(shard).encode()).hexdigest()[:32]}.json"


def found_packages(names: Iterable[str]) -> dict[str, str]:
    """Where packages are imported from now: another environment may have another release."""
    return {name: str(installed_folder(name)) for name in names}


def file_digest(path: Path) -> str:
    status = path.stat()
    return _digest(path, status.st_mtime_ns, status.st_size)


@cache
def _digest(path: Path, modified: int, size: int) -> str:
    """Many shards have the same parents: each version of a file is hashed once in a process."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


@cache
def generator_digest() -> str:
    """Digest of the generator's own code and of the formatter's version."""
    digest = hashlib.sha256(f"{version('ruff')} {version('libcst')}".encode())
    for path in sorted(Path(__file__).parents[1].rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()
