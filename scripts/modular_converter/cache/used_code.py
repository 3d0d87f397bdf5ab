"""What an expansion used of a parent, as a digest."""

import hashlib
from collections.abc import Iterable
from pathlib import Path

from ..sources.source import read_source


def used_digest(path: Path, names: Iterable[str]) -> str:
    """Digest of the used definitions with the comments above them, of header and imports, and of the names that there
    are: what a definition brings along depends on these."""
    source = read_source(path)
    digest = hashlib.sha256(source.header.encode())
    for statement in source.statements:
        text = statement.text if statement.kind in ("import", "guard") else ""
        digest.update(f"{statement.kind}:{statement.name}:{text}\n".encode())
    for name in names:
        digest.update(source.definitions[name].text.encode() + b"\n")
    return digest.hexdigest()
