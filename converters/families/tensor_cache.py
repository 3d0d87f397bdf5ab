"""What an earlier process has found out of a model by building it: what is imported for that is half of what `inspect` takes.

One file a model, in a folder that may be deleted at any time. Processes share it: a file is replaced whole or not at all, and
one that cannot be read counts as not there.
"""

import json
import os
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from .tensors import Ends, Tensor, Tensors


MOST_FILES = 64


def cache_folder(name: str = "tensors") -> Path:
    """Where things of one kind are remembered."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(base) / "transformers-heterogeneous" / name


def record_of(config_class: type, described: str) -> Path | None:
    """
    The file for a model: another one where config, code, torch or transformers are others; `None` where the code cannot be
    read.

    Args:
        described: The config, in JSON.
    """
    code = getattr(sys.modules[config_class.__module__], "__file__", None)
    if code is None:
        return None
    try:
        digest = sha256(f"{version('torch')} {version('transformers')} {config_class} {described}".encode())
        for folder in (Path(code).parent, Path(__file__).parent):
            for path in sorted(folder.glob("*.py")):
                digest.update(path.read_bytes())
    except (OSError, PackageNotFoundError):
        return None
    return cache_folder() / f"{digest.hexdigest()}.json"


def recall(record: Path | None) -> Tensors | None:
    """The tensors of a file, if they are there."""
    try:
        found = json.loads(record.read_text()) if record is not None else {}
        outside, *layers = (
            [Tensor(**{**each, "shape": tuple(each["shape"])}) for each in part] for part in found["parts"]
        )
        return Tensors(outside, layers, found["place"], Ends(**found["ends"]))
    except (OSError, ValueError, LookupError, TypeError):
        return None


def remember(record: Path | None, tensors: Tensors) -> None:
    """Keep them."""
    if record is not None:
        parts = [[asdict(tensor) for tensor in part] for part in (tensors.outside, *tensors.layers)]
        keep(record, {"place": tensors.place, "ends": asdict(tensors.ends), "parts": parts})


def keep(record: Path, found: Mapping[str, Any]) -> None:
    """Write a file, and leave no more than the newest beside it. A folder that cannot be written to is no reason to fail."""
    with suppress(OSError):
        record.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=record.parent) as folder:
            whole = Path(folder) / record.name
            whole.write_text(json.dumps(found))
            os.replace(whole, record)
        for old in sorted(record.parent.glob("*.json"), key=lambda path: path.stat().st_mtime)[:-MOST_FILES]:
            old.unlink(missing_ok=True)
