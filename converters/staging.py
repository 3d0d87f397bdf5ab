"""A folder that appears whole or not at all."""

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import CheckpointError


def check_target(source: Path, target: Path) -> None:
    """Raise a `CheckpointError` where the output must not go: something is there, or it would lie inside the source."""
    if target.resolve().is_relative_to(source.resolve()):
        raise CheckpointError(f"{target}: lies inside the checkpoint {source}; choose a folder outside it")
    if target.is_dir() and not any(target.iterdir()):
        return
    if os.path.lexists(target):
        raise CheckpointError(f"{target}: exists; nothing is overwritten: choose another name or remove it first")


@contextmanager
def staged_folder(target: Path) -> Iterator[Path]:
    """
    A new folder to write into, which becomes `target` when the block ends, and is removed when it raises, whatever it
    raises. It lies beside the target, so on the same filesystem, under a hidden name.
    """
    target = target.resolve()
    beside = next(parent for parent in target.parents if parent.exists())
    staging = beside / f".{target.name}.{secrets.token_hex(4)}.partial"
    try:
        staging.mkdir()
    except OSError as error:
        raise CheckpointError(f"{target}: cannot be made in {beside}: {error.strerror}") from error
    try:
        yield staging
        flush_folders(staging)
        target.parent.mkdir(parents=True, exist_ok=True)
        staging.rename(target)
    except BaseException:
        shutil.rmtree(staging)
        raise
    flush(target.parent)


def write_text(path: Path, text: str) -> None:
    """Write a file in UTF-8 and bring it to the disk."""
    with path.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def flush_folders(folder: Path) -> None:
    """Bring the entries of a folder and of those inside it to the disk; the files have been."""
    for path, _, _ in os.walk(folder):
        flush(Path(path))


def flush(folder: Path) -> None:
    """Bring a folder's entries to the disk, on systems that open folders."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
