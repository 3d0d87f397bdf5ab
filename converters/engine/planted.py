"""What somebody else may have put where we delete, write or lock: links, and folders that are not ours. Nothing is followed."""

import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from .errors import CheckpointError


ROOT = 0  # who may lay links for everybody


def is_ours(status: os.stat_result) -> bool:
    """Whether a file belongs to who runs this; always where files have no owner."""
    return not hasattr(os, "geteuid") or status.st_uid == os.geteuid()


def planted(path: Path, status: os.stat_result) -> str | None:
    """What is wrong with a path that we are to work in or on; `None` where it is a folder or a file of our own."""
    if stat.S_ISLNK(status.st_mode):
        return f"{path} is a link, to {os.readlink(path)}"
    if stat.S_ISDIR(status.st_mode) and not is_ours(status):
        return f"{path} is a folder of another user, number {status.st_uid}"
    return None


def tree(folder: Path) -> Iterator[Path]:
    """A path and all that lies below it; links are not entered."""
    yield folder
    if not folder.is_symlink():
        for path, folders, files in os.walk(folder):
            yield from (Path(path) / name for name in (*folders, *files))


def check_own_tree(folder: Path, target: Path) -> None:
    """
    Raise a `CheckpointError` where a folder in which `target` is put together has links in it, is one, or belongs to
    another. There may be none.
    """
    for path in tree(folder):
        with suppress(FileNotFoundError):  # a run that ends takes its folder away
            if problem := planted(path, path.lstat()):
                raise CheckpointError(
                    f"{target}: is put together in {folder}, and {problem}: nothing is written or removed there",
                    remedy=f"Look at it, and remove it if it is nobody's: {path}. Or choose another name for the output.",
                )


def check_own_link(path: Path, status: os.stat_result) -> None:
    """Raise a `CheckpointError` where a path is a link that another user has laid; the system's are everybody's."""
    if stat.S_ISLNK(status.st_mode) and not is_ours(status) and status.st_uid != ROOT:
        raise CheckpointError(
            f"{path}: is a link of another user, number {status.st_uid}, to {os.readlink(path)}, and is not followed",
            remedy="Remove it, or choose another name for the output.",
        )
