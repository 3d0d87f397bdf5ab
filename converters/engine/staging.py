"""A folder that appears whole or not at all, and that a second run can go on with."""

import hashlib
import os
import shlex
import shutil
import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from .errors import CheckpointError
from .planted import check_own_link, check_own_tree


LOCK, FILES = "lock", "files"
MAX_NAME_BYTES = 255  # of a file, on the usual filesystems


def check_target(source: Path, target: Path) -> None:
    """Raise a `CheckpointError` where the output must not go: something is there, it would lie inside the source, or
    somebody else has been at the folder in which it is put together."""
    if target.resolve().is_relative_to(source.resolve()):
        raise CheckpointError(f"{target}: lies inside the checkpoint {source}; choose a folder outside it")
    check_free(target)
    check_own_tree(staging_of(target), target)
    if not os.access(parent_of(target), os.W_OK | os.X_OK):
        raise CheckpointError(f"{target}: cannot be made in {parent_of(target)}: it cannot be written to")


def check_free(target: Path) -> None:
    """
    Raise a `CheckpointError` where something is there; an empty folder is nothing. Where nothing can be, as under a file
    or with too long a name, the system's own error.
    """
    try:
        status = target.lstat()
    except FileNotFoundError:
        return
    check_own_link(target, status)
    if not target.is_dir() or any(target.iterdir()):
        raise CheckpointError(f"{target}: exists; nothing is overwritten: choose another name or remove it first")


def parent_of(target: Path) -> Path:
    """The nearest folder above the target that is there."""
    return next(parent for parent in target.resolve().parents if parent.exists())


def staging_of(target: Path) -> Path:
    """The hidden folder beside the target, so on its filesystem, that becomes it; the same one for every run."""
    target = target.resolve()
    name = f".{target.name}.partial"
    if len(os.fsencode(name)) > MAX_NAME_BYTES:
        name = f".{hashlib.sha256(os.fsencode(target.name)).hexdigest()}.partial"
    return target.parent / name


@contextmanager
def staged_folder(target: Path) -> Iterator[Path]:
    """
    A folder to write into, which becomes `target` when the block ends. It may hold files of an earlier run that was
    stopped. It is removed when the block raises, with the folders above it that were made for it; an interruption leaves
    it for the next run, and so does a target that something else has taken in the meantime.

    Raises:
        CheckpointError: where another run writes to the same target, the folder cannot be made, or is not ours alone.
    """
    target, staging = target.resolve(), staging_of(target)
    with made(target.parent), locked(staging, target):
        check_free(target)
        files = staging / FILES
        files.mkdir(exist_ok=True)
        try:
            yield files
            flush_tree(files)
        except KeyboardInterrupt:
            raise
        except BaseException:
            shutil.rmtree(staging)
            raise
        put_in_place(files, target)
        shutil.rmtree(staging)
    flush(target.parent)


def put_in_place(files: Path, target: Path) -> None:
    """Give the finished folder its name. A `CheckpointError` says where it is when that is not possible: it stays."""
    try:
        files.rename(target)
    except OSError as error:
        reason = "something else is there now" if os.path.lexists(target) else error.strerror
        raise CheckpointError(
            f"{target}: the output is finished and could not be put there: {reason}. It is kept, as {files}",
            remedy=f"Move away what is at {target}, and then run it again, or: mv {shlex.quote(str(files))} "
            f"{shlex.quote(str(target))}",
        ) from error


@contextmanager
def made(folder: Path) -> Iterator[None]:
    """Make a folder and those above it. When the block raises, those that were missing go again, unless they are used."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except BaseException:
        for path in missing:
            with suppress(OSError):
                path.rmdir()
        raise


@contextmanager
def locked(staging: Path, target: Path) -> Iterator[None]:
    """
    Make the folder, which nobody else may enter, and hold its lock; a `CheckpointError` where another run does, or where
    it was there and has something in it that is not ours.
    """
    try:
        made_or_own(staging, target)
        lock = os.open(staging / LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
    except OSError as error:
        raise CheckpointError(f"{target}: cannot be made in {staging.parent}: {error.strerror}") from error
    try:
        if not take(lock) or not is_same(lock, staging / LOCK):
            raise CheckpointError(f"{target}: another run is writing it, in {staging}")
        yield
    finally:
        os.close(lock)


def made_or_own(staging: Path, target: Path) -> None:
    """Make the folder; where there is something of its name, a `CheckpointError` unless it is ours throughout."""
    try:
        staging.mkdir(mode=0o700)
    except FileExistsError:
        check_own_tree(staging, target)


def take(lock: int) -> bool:
    """Lock an open file until it is closed; false where another process has."""
    if sys.platform == "win32":
        return True
    import fcntl

    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def is_same(opened: int, path: Path) -> bool:
    """Whether an open file is still the one of this name: the run that held its lock removes it in the end."""
    return path.exists() and os.path.samestat(os.fstat(opened), path.stat())


def remove_others(folder: Path, names: Collection[str]) -> None:
    """Remove the files that an earlier run of another plan left."""
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_dir() and not path.is_symlink():
            if not any(path.iterdir()):
                path.rmdir()
        elif path.relative_to(folder).as_posix() not in names:
            path.unlink()


def num_bytes_on_disk(folder: Path) -> int:
    """Bytes that the files of a folder take up; 0 where there is none."""
    files = (path.lstat() for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    return sum(file.st_blocks * 512 for file in files if file.st_nlink == 1)


def num_bytes_free(folder: Path, needed: int) -> int:
    """Free bytes of a folder's filesystem. btrfs gives deleted blocks back with its next commit, hence the sync."""
    if shutil.disk_usage(folder).free < needed and hasattr(os, "sync"):
        os.sync()
    return shutil.disk_usage(folder).free


def write_text(path: Path, text: str) -> None:
    """Write a file in UTF-8."""
    path.write_text(text, encoding="utf-8", newline="\n")


def flush_tree(folder: Path) -> None:
    """Bring a folder with all that is in it to the disk."""
    for path, _, files in os.walk(folder):
        for file in files:
            flush(Path(path) / file)
        flush(Path(path))


def flush(path: Path) -> None:
    """Bring a file, or a folder's entries, to the disk, on systems that open folders."""
    if os.name != "posix":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
