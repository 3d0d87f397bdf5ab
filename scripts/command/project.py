"""The project that a command is called in: where its shards are, and where what they expand to goes."""

import os
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..modular_converter.output.package import Family, render_package, render_project
from ..modular_converter.sources.diagnostics import Diagnostic, ShardError


HOUSE = Path(__file__).resolve().parents[2]
TABLE = "tool.hetero"
FIELDS = ("modular", "generated")


@dataclass(frozen=True)
class Project:
    """
    The shards of one package.

    Attributes:
        modular: Folder of the shards.
        generated: Folder of what they expand to.
        package: Makes the `__init__.py` of that folder, out of its families and the name of the shards' folder.
    """

    modular: Path
    generated: Path
    package: Callable[[Sequence[Family], str], str]

    @property
    def shards(self) -> list[Path]:
        return sorted(self.modular.glob("modular_*.py"))


def project_of(folder: Path) -> Project:
    """
    The project of the nearest pyproject.toml, in a folder or above it, that has a table `tool.hetero`. Without one it is this
    package, with its own families.

    Raises:
        ShardError: the table lacks a folder, or names what is none.
    """
    folder = Path(os.path.abspath(folder))
    for each in (folder, *folder.parents):
        path = each / "pyproject.toml"
        if path.is_file() and (table := table_of(path)) is not None:
            return Project(each / table["modular"], each / table["generated"], render_project)
    generated = HOUSE / "generated"
    return Project(HOUSE / "modular", generated if generated.exists() else HOUSE, render_package)


def table_of(path: Path) -> dict[str, str] | None:
    """The table of a pyproject.toml; `None` where it has none."""
    try:
        said: Any = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # somebody else's to mend
        return None
    for name in TABLE.split("."):
        said = said.get(name) if isinstance(said, dict) else None
    if said is None:
        return None
    fields = said if isinstance(said, dict) else {}
    errors = [f"{name} is no field" for name in fields if name not in FIELDS]
    errors += [f"{name} is needed: a folder" for name in FIELDS if not isinstance(fields.get(name), str)]
    modular = fields.get("modular")
    if isinstance(modular, str) and not (path.parent / modular).is_dir():
        errors.append(f"modular: there is no folder {path.parent / modular}")
    if errors:
        message = f"[{TABLE}]: {'; '.join(errors)}. Its fields are {' and '.join(FIELDS)}"
        raise ShardError([Diagnostic(path, 1, 1, message)])
    return dict(fields)
