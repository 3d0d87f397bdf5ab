"""A source tree of transformers: what is in it, and which of its files are those that an export wrote."""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from ..modular_converter.sources.paths import installed_version
from .tree_imports import CannotExport


_VERSION = re.compile(r"^__version__\s*=\s*[\"']([^\"']+)", re.MULTILINE)
RECORD = "hetero-export.json"


@dataclass(frozen=True)
class SourceTree:
    """A checkout, or an unpacked sdist: `src/transformers`, and what lies around it."""

    root: Path

    @property
    def package(self) -> Path:
        return self.root / "src" / "transformers"

    @property
    def models(self) -> Path:
        return self.package / "models"

    def check_release(self) -> None:
        """Raise `CannotExport` where it is no source tree, or one of another minor release than the families are of."""
        init = self.package / "__init__.py"
        if not init.is_file():
            raise CannotExport(f"{self.root} is no source tree of transformers: there is no {init}")
        found = _VERSION.search(init.read_text(encoding="utf-8"))
        theirs, ours = found[1] if found else "unknown", installed_version("transformers")
        if theirs.split(".")[:2] != ours.split(".")[:2]:
            minor = ".".join(ours.split(".")[:2])
            raise CannotExport(
                f"{self.root} is transformers {theirs}, and the families are of {ours}, which is installed: take a tree of {minor}"
            )

    @property
    def record(self) -> Path:
        """Where it is noted what was written: in a checkout not among its files."""
        git = self.root / ".git"
        return git / RECORD if git.is_dir() else self.root / f".{RECORD}"

    @cached_property
    def written(self) -> dict[str, str]:
        """File -> digest of what an export wrote there."""
        if not self.record.is_file():
            return {}
        try:
            return dict(json.loads(self.record.read_text(encoding="utf-8")))
        except ValueError as error:
            raise CannotExport(
                f"{self.record} cannot be read ({error}): remove it, and what it noted is somebody's"
            ) from error

    def in_the_way(self, files: Mapping[str, str]) -> Iterator[str]:
        """Whole files that are there, are not what would be written, and are not what an export wrote."""
        for name, text in files.items():
            path = self.root / name
            there = read(path) if path.exists() else text
            if there != text and self.written.get(name) != digest(there):
                yield f"{path} is there and is not what `hetero export` wrote: move it away, or bring the change into the shard"

    def noted(self, files: Mapping[str, str]) -> str:
        """The record with these files in it."""
        return (
            json.dumps(self.written | {name: digest(text) for name, text in files.items()}, indent=1, sort_keys=True)
            + "\n"
        )


def read(path: Path) -> str:
    """The text of a file, as it is; of what is none, nothing that anybody wrote."""
    return path.read_bytes().decode("utf-8", errors="replace") if path.is_file() else ""


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
