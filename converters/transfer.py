"""Bytes from file to file without passing through this process, as far as the system can."""

import errno
import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Literal

from .errors import CheckpointError
from .plan import Span


Link = Literal["auto", "reflink", "hardlink", "copy"]
Advance = Callable[[int], object]

# The ways that each allows, the cheapest first
WAYS: dict[Link, tuple[str, ...]] = {
    "auto": ("reflink", "copy"),
    "reflink": ("reflink",),
    "hardlink": ("hardlink",),
    "copy": ("copy",),
}
# From linux/fs.h: let the whole target share the source's blocks
FICLONE = 0x40049409
# What systems answer when they, or the two filesystems, cannot share, link or copy in the kernel
NOT_POSSIBLE = {errno.EINVAL, errno.ENOSYS, errno.ENOTTY, errno.EOPNOTSUPP, errno.EPERM, errno.EXDEV}
KERNEL_CHUNK = 64 * 2**20  # bytes between two steps of a progress bar
BUFFER = 2**20  # bytes in memory where the kernel does not copy


def transfer_file(source: Path, target: Path, link: Link, advance: Advance) -> str:
    """
    Put the file `source` at `target`, unchanged, in the cheapest way that `link` allows. Links are followed: what is
    put there is the file itself.

    Args:
        link: `auto` shares blocks or copies; the others name the one way that is allowed.
        advance: Called with the numbers of bytes that are done.

    Returns:
        The way taken: `reflink`, `hardlink` or `copy`.

    Raises:
        CheckpointError: where the way asked for is not possible between these two places.
    """
    source = source.resolve()
    size = source.stat().st_size
    for way in WAYS[link]:
        if way == "copy":
            copy_spans(source, target, b"", [Span(0, size)], advance)
            return way
        if SHARING[way](source, target):
            advance(size)
            return way
    raise CheckpointError(
        f"{source}: no {link} is possible from there to {target.parent}", remedy="Use --link auto or --link copy."
    )


def reflink(source: Path, target: Path) -> bool:
    """Let `target` share the blocks of `source` until one of them is written to; false where that is not possible."""
    if sys.platform != "linux":
        return False
    import fcntl

    with source.open("rb") as reading, target.open("wb") as writing:
        possible = attempt(lambda: fcntl.ioctl(writing.fileno(), FICLONE, reading.fileno()))
        os.fsync(writing.fileno())
    return possible


def hardlink(source: Path, target: Path) -> bool:
    """Make `target` another name of the file `source`; false where that is not possible."""
    return attempt(lambda: os.link(source, target))


def attempt(operation: Callable[[], object]) -> bool:
    """Carry out what the filesystem may not be able to; false where it is not."""
    try:
        operation()
    except OSError as error:
        if error.errno in NOT_POSSIBLE:
            return False
        raise
    return True


SHARING = {"reflink": reflink, "hardlink": hardlink}


def copy_spans(source: Path, target: Path, header: bytes, spans: Iterable[Span], advance: Advance) -> None:
    """
    Write `header` and then bytes of `source` to `target`.

    Raises:
        CheckpointError: where the source ends before the spans do.
    """
    with source.open("rb") as reading, target.open("wb", buffering=0) as writing:
        writing.write(header)
        advance(len(header))
        for span in spans:
            copy_span(reading.fileno(), writing.fileno(), span, advance)
        os.fsync(writing.fileno())


def copy_span(reading: int, writing: int, span: Span, advance: Advance) -> None:
    """Append bytes of one open file to another."""
    offset, end = span.start, span.start + span.size
    while offset < end:
        moved = move_in_kernel(reading, writing, offset, end - offset)
        moved = moved or move_in_memory(reading, writing, offset, end - offset)
        if not moved:
            raise CheckpointError(f"the source ended at byte {offset} of {end}: it was truncated while it was read")
        offset += moved
        advance(moved)


def move_in_kernel(reading: int, writing: int, offset: int, size: int) -> int:
    """Append up to `size` bytes from `offset` without bringing them into memory; how many, 0 where it is not possible."""
    if sys.platform != "linux":
        return 0
    try:
        return os.copy_file_range(reading, writing, min(size, KERNEL_CHUNK), offset_src=offset)
    except OSError as error:
        if error.errno in NOT_POSSIBLE:
            return 0
        raise


def move_in_memory(reading: int, writing: int, offset: int, size: int) -> int:
    """The same through one bounded buffer."""
    os.lseek(reading, offset, os.SEEK_SET)
    return os.write(writing, os.read(reading, min(size, BUFFER)))
