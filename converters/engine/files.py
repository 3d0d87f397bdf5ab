"""The one way in which files are opened that somebody else wrote: regular ones, of the checkpoint, no larger than expected."""

import os
import stat
from pathlib import Path
from typing import BinaryIO

from .errors import CheckpointError


# Kinds of files that are not read: opening them may wait forever, reading them never end
KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
NO_WAITING = getattr(os, "O_NONBLOCK", 0)


def open_regular(path: Path, folder: Path | None = None, name: str | None = None) -> BinaryIO:
    """
    Open a regular file for reading.

    Args:
        folder: The checkpoint that it has to belong to, also where it is a link.
        name: What messages call it; its path by default.

    Raises:
        CheckpointError: where it is something else, lies elsewhere, or cannot be read.
    """
    name = str(path) if name is None else name
    try:
        check_regular(path.stat(), name)
        if folder is not None and path.is_symlink() and not is_own(path, folder.resolve()):
            raise CheckpointError(
                f"{name}: is a link to a file outside the checkpoint: {path.resolve()}",
                remedy="Put the file itself, or a hard link to it, in its place.",
            )
        file: BinaryIO = open(path, "rb", opener=without_waiting)  # noqa: SIM115
    except OSError as error:
        raise CheckpointError(f"{name}: cannot be read: {error.strerror}") from error
    try:
        check_regular(os.fstat(file.fileno()), name)
    except CheckpointError:
        file.close()
        raise
    return file


def without_waiting(path: str, flags: int) -> int:
    """Open a file at once, also where it has become a pipe in the meantime."""
    return os.open(path, flags | NO_WAITING)


def check_regular(status: os.stat_result, name: str) -> None:
    """Raise a `CheckpointError` where a file is none with a content of its own."""
    if not stat.S_ISREG(status.st_mode):
        kind = KINDS.get(stat.S_IFMT(status.st_mode), "no regular file")
        raise CheckpointError(f"{name}: is {kind}, a regular file is needed")


def read_file(path: Path, max_bytes: int, folder: Path | None = None) -> bytes:
    """
    All of a small file; see `open_regular`.

    Raises:
        CheckpointError: where it has more bytes than that, or cannot be opened.
    """
    with open_regular(path, folder) as file:
        try:
            content = file.read(max_bytes + 1)
        except OSError as error:
            raise CheckpointError(f"{path}: cannot be read: {error.strerror}") from error
    if len(content) > max_bytes:
        raise CheckpointError(f"{path}: has more than the {max_bytes:,} bytes that are read of such a file")
    return content


def is_own(link: Path, root: Path) -> bool:
    """
    Whether a link leads to a file of the checkpoint, or, in the hub's cache, to one of the same repository: below
    REPOSITORY/snapshots/REVISION there are links to REPOSITORY/blobs.
    """
    target = link.resolve()
    if target.is_relative_to(root):
        return True
    repository = next(
        (folder.parent.parent for folder in (root, *root.parents) if folder.parent.name == "snapshots"), None
    )
    return repository is not None and target.parent == repository / "blobs"
