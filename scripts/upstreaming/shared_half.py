"""What families share, as files under integrations/: imported by their configs and models, copied into none."""

import re
from pathlib import Path

import libcst as cst

from .tree_imports import FOLDER, OURS, SHARED, Place, moved
from .upstream_shard import formatted


# Said of transformers, which is what the reader is in there
_UPSTREAM = re.compile(r"\bupstream('s)?\b")
_BANNER = re.compile(r"\A# Generated from .*\n#\n")


def shared_files(package: Path) -> dict[str, str]:
    """
    The files by their place in the tree, below `transformers`.

    Args:
        package: the folder of the expanded families.
    """
    place = Place((FOLDER,), {})
    return {f"{FOLDER}/{theirs}.py": _shared_file(package / f"{ours}.py", place) for ours, theirs in SHARED.items()}


def _shared_file(path: Path, place: Place) -> str:
    text = _BANNER.sub("", path.read_text(encoding="utf-8"))
    text = _UPSTREAM.sub(_named, moved(cst.parse_module(text), place).code)
    return formatted(
        path,
        text.replace(f"{OURS}.keep_layers", f"transformers.{FOLDER}.{SHARED['modeling_heterogeneous']}.keep_layers"),
    )


def _named(found: re.Match[str]) -> str:
    return "transformers'" if found[1] else "transformers"


def shared_names(package: Path) -> dict[str, str]:
    """Name -> the file that defines it, as the package calls it."""
    found = {}
    for module in SHARED:
        tree = cst.parse_module((package / f"{module}.py").read_text(encoding="utf-8"))
        for statement in tree.body:
            if isinstance(statement, cst.ClassDef | cst.FunctionDef):
                found[statement.name.value] = module
    return found
