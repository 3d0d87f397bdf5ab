"""Bytes from file to file without passing through this process, as far as the system can."""

import errno
import os
import struct
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from .errors import CheckpointError
from .headers import BLOCK


Link = Literal["auto", "reflink", "hardlink", "copy"]
Advance = Callable[[int], object]

# From linux/fs.h: let a range of the target share the source's blocks; its argument is struct file_clone_range
FICLONERANGE = 0x4020940D
CLONE_RANGE = struct.Struct("qQQQ")
# What systems answer when they, or the two filesystems, cannot share, link or copy in the kernel
NOT_POSSIBLE = {errno.EINVAL, errno.ENOSYS, errno.ENOTTY, errno.EOPNOTSUPP, errno.EPERM, errno.EXDEV, errno.EISDIR}
KERNEL_CHUNK = 64 * 2**20  # bytes between two steps of a progress bar
# Bytes in memory where the kernel does not copy. Writes begin at multiples of it where they can: so the page cache takes
# large pages, and copying costs a third less
BUFFER = 2**20


@dataclass(frozen=True)
class Move:
    """`size` bytes from offset `start` of a source file to offset `position` of the target."""

    file: str
    start: int
    size: int
    position: int


def joined(moves: Iterable[Move]) -> Iterator[Move]:
    """The same with those that follow one another in both files as one."""
    last: Move | None = None
    for move in moves:
        if last and (last.file, last.start + last.size, last.position + last.size) == (
            move.file,
            move.start,
            move.position,
        ):
            last = Move(last.file, last.start, last.size + move.size, last.position)
            continue
        if last:
            yield last
        last = move
    if last:
        yield last


def carry_moves(files: Mapping[str, int], writing: int, moves: Iterable[Move], share: bool, advance: Advance) -> int:
    """
    Carry out moves into one open file.

    Args:
        files: Name of a source's file -> its descriptor.
        share: Let the target share blocks with the source where the filesystem can.
        advance: Called with the numbers of bytes that are done.

    Returns:
        How many bytes the two files share.

    Raises:
        CheckpointError: where a source ends before it should.
    """
    buffer = memoryview(bytearray(BUFFER))
    return sum(carry_move(files[move.file], writing, move, share, buffer, advance) for move in moves)


def carry_move(reading: int, writing: int, move: Move, share: bool, buffer: memoryview, advance: Advance) -> int:
    """Share the whole blocks of a move, and copy what is before and after them; how many bytes are shared."""
    before, shared = whole_blocks(move)
    if not (share and shared and clone_range(reading, writing, move.start + before, shared, move.position + before)):
        copy_move(reading, writing, move, share, buffer, advance)
        return 0
    after = before + shared
    copy_move(reading, writing, Move(move.file, move.start, before, move.position), share, buffer, advance)
    advance(shared)
    rest = Move(move.file, move.start + after, move.size - after, move.position + after)
    copy_move(reading, writing, rest, share, buffer, advance)
    return shared


def whole_blocks(move: Move) -> tuple[int, int]:
    """How many bytes of a move lie before its first whole block, and how many in whole blocks; (0, 0) for none."""
    before = -move.start % BLOCK
    size = (move.size - before) // BLOCK * BLOCK
    aligned = (move.start - move.position) % BLOCK == 0
    return (before, size) if aligned and size > 0 else (0, 0)


def clone_range(reading: int, writing: int, start: int, size: int, position: int) -> bool:
    """Let `writing` share blocks of `reading` until one of them is written to; false where that is not possible."""
    if sys.platform != "linux":
        return False
    import fcntl

    argument = CLONE_RANGE.pack(reading, start, size, position)
    return attempt(lambda: fcntl.ioctl(writing, FICLONERANGE, argument))


def hardlink(source: Path, target: Path) -> None:
    """Make `target` another name of the file `source`; a `CheckpointError` where that is not possible."""
    if not attempt(lambda: os.link(source.resolve(), target)):
        raise CheckpointError(
            f"{source}: no hardlink is possible from there to {target.parent}",
            remedy="Use --link auto or --link copy.",
        )


def attempt(operation: Callable[[], object]) -> bool:
    """Carry out what the filesystem may not be able to; false where it is not."""
    try:
        operation()
    except OSError as error:
        if error.errno in NOT_POSSIBLE:
            return False
        raise
    return True


def can_share(source: Path, folder: Path) -> bool:
    """Whether files in `folder` can share blocks with `source`: tried out on a file that has no name and no future."""
    if sys.platform != "linux":
        return False
    try:
        writing = os.open(folder, os.O_TMPFILE | os.O_RDWR)
    except OSError:
        return False
    try:
        with source.open("rb") as reading:
            size = os.fstat(reading.fileno()).st_size // BLOCK * BLOCK
            return size > 0 and clone_range(reading.fileno(), writing, 0, BLOCK, 0)
    finally:
        os.close(writing)


def copy_move(reading: int, writing: int, move: Move, in_kernel: bool, buffer: memoryview, advance: Advance) -> None:
    """
    Copy bytes of one open file to another, in steps of which all but the first begin at a multiple of `BUFFER`. Where
    the two lie differently in their blocks, the kernel would be slower than the way through memory.

    Args:
        in_kernel: Let the system copy, which may share blocks of its own accord.
    """
    in_kernel = in_kernel and (move.start - move.position) % BLOCK == 0
    done = 0
    while done < move.size:
        start, position = move.start + done, move.position + done
        size = min(move.size - done, -position % BUFFER or KERNEL_CHUNK)
        moved = move_in_kernel(reading, writing, start, size, position) if in_kernel else 0
        moved = moved or move_in_memory(reading, writing, start, size, position, buffer)
        if not moved:
            raise CheckpointError(
                f"{move.file} ended at byte {start} of {move.start + move.size}: it was truncated while it was read"
            )
        done += moved
        advance(moved)


def move_in_kernel(reading: int, writing: int, start: int, size: int, position: int) -> int:
    """Copy up to `size` bytes without bringing them into memory; how many, 0 where it is not possible."""
    if sys.platform != "linux":
        return 0
    try:
        return os.copy_file_range(reading, writing, size, offset_src=start, offset_dst=position)
    except OSError as error:
        if error.errno in NOT_POSSIBLE:
            return 0
        raise


def move_in_memory(reading: int, writing: int, start: int, size: int, position: int, buffer: memoryview) -> int:
    """The same through a buffer, as many as it holds."""
    num_read = os.preadv(reading, [buffer[:size]], start)
    return write_at(writing, buffer[:num_read], position) - position


def write_at(writing: int, content: bytes | memoryview, position: int) -> int:
    """Write all of some bytes at an offset; the offset after them."""
    rest = memoryview(content)
    while rest:
        done = os.pwrite(writing, rest, position)
        rest, position = rest[done:], position + done
    return position
