"""The files of a plan: written, each in the cheapest way that serves, and compared with what is there already."""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from threading import Event

from .errors import CheckpointError
from .headers import read_header
from .open_files import Source
from .plan import UNCHANGED, FilePlan
from .planted import is_ours
from .rendering import Compute, file_chunks, render
from .tensor_plan import COMPUTED, TensorPlan
from .transfer import Advance, Link, Move, carry_moves, hardlink, joined, whole_blocks, write_at


@dataclass(frozen=True)
class Written:
    """How a file came to be, and how many of its bytes it shares with the source."""

    how: str
    num_shared_bytes: int


class Stopped(Exception):
    """Raised in the workers when the conversion ends early."""


def write_files(
    files: tuple[FilePlan, ...],
    source: Source,
    folder: Path,
    link: Link,
    jobs: int,
    compute: Compute,
    advance: Advance,
) -> dict[str, Written]:
    """
    Write files in parallel. Those that an earlier run left whole, byte for byte what the plan says, are used.

    Args:
        folder: Of the output.
        compute: What does the arithmetic.
        advance: Called, in several threads, with the numbers of bytes that are done.

    Returns:
        How each file came to be.
    """
    stop = Event()

    def step(num_bytes: int) -> None:
        if stop.is_set():
            raise Stopped
        advance(num_bytes)

    pool = ThreadPoolExecutor(jobs)
    try:
        futures = {pool.submit(write_file, file, source, folder, link, compute, step): file.name for file in files}
        done = {futures[future]: future.result() for future in as_completed(futures)}
    finally:
        stop.set()
        pool.shutdown(cancel_futures=True)
    return done


def write_file(
    file: FilePlan, source: Source, folder: Path, link: Link, compute: Compute, advance: Advance
) -> Written:
    """Write one file, unless an earlier run has."""
    target = folder / file.name
    target.parent.mkdir(parents=True, exist_ok=True)
    if is_written(file, source, target, link, compute, advance):
        advance(file.num_bytes)
        return Written("resumed", 0)
    target.unlink(missing_ok=True)
    if file.source is not None and link == "hardlink":
        hardlink(source.weights.path(file.source), target)
        advance(file.num_bytes)
        return Written("hardlink", file.num_bytes)
    num_shared = put_together(file, source, target, link != "copy", compute, advance)
    return Written(way_of(file, num_shared), num_shared)


def way_of(file: FilePlan, num_shared: int) -> str:
    """What reports call the way that was taken."""
    if file.how == UNCHANGED:
        return "reflink" if num_shared else "copy"
    return file.how


def put_together(file: FilePlan, source: Source, target: Path, share: bool, compute: Compute, advance: Advance) -> int:
    """Write a file's header, move the bytes that stay, and compute the others; how many bytes are shared."""
    writing = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        write_at(writing, file.header, 0)
        advance(len(file.header))
        num_shared = carry_moves(source.readings, writing, moves_of(file), share, advance)
        for position, tensor in placed(file):
            if not is_moved(tensor):
                for chunk in render(tensor, source.readings, compute):
                    position = write_at(writing, chunk, position)
                    advance(len(chunk))
    finally:
        os.close(writing)
    return num_shared


def placed(file: FilePlan) -> Iterator[tuple[int, TensorPlan]]:
    """The tensors of a file that is put together, with the offsets of their bytes in it."""
    position = len(file.header)
    for tensor in file.tensors if file.source is None else ():
        yield position, tensor
        position += tensor.num_bytes


def is_moved(tensor: TensorPlan) -> bool:
    """Whether a tensor's bytes are those of its pieces, each in one run."""
    return tensor.operation not in COMPUTED and all(piece.count == 1 for piece in tensor.pieces)


def moves_of(file: FilePlan) -> list[Move]:
    """What is moved from file to file as it is."""
    if file.source is not None:
        return [Move(file.source, 0, file.num_bytes, 0)]
    return list(joined(piece_moves(file)))


def piece_moves(file: FilePlan) -> Iterator[Move]:
    for position, tensor in placed(file):
        if is_moved(tensor):
            for piece in tensor.pieces:
                yield Move(piece.file, piece.start, piece.num_bytes, position)
                position += piece.num_bytes


def num_shareable(file: FilePlan, link: Link, sharing: bool) -> int:
    """
    How many bytes of a file need no room of their own.

    Args:
        sharing: Whether the filesystem shares blocks.
    """
    if link == "hardlink" and file.source is not None:
        return file.num_bytes
    return sum(whole_blocks(move)[1] for move in moves_of(file)) if sharing else 0


def is_written(file: FilePlan, source: Source, target: Path, link: Link, compute: Compute, advance: Advance) -> bool:
    """Whether the target is a file of its own that holds, byte for byte, what the plan says."""
    if target.is_symlink() or not target.is_file() or target.stat().st_size != file.num_bytes:
        return False
    if target.stat().st_nlink == 1 and not is_ours(target.stat()):
        return False  # whose it is may change it later
    if target.stat().st_nlink > 1:
        return link == "hardlink" and file.source is not None and target.samefile(source.weights.path(file.source))
    with target.open("rb") as written:
        for chunk in contents(file, source, compute):
            advance(0)  # where a conversion that ends early stops
            if written.read(len(chunk)) != chunk:
                return False
    return True


def contents(file: FilePlan, source: Source, compute: Compute) -> Iterator[bytes | memoryview]:
    """All bytes of a file of the output, in bounded chunks."""
    if file.source is not None:
        return file_chunks(source.readings[file.source], file.num_bytes)
    return chain([file.header], *(render(tensor, source.readings, compute) for _, tensor in placed(file)))


def check_written(files: tuple[FilePlan, ...], folder: Path) -> None:
    """Read the headers of what was written, and compare them with the plan; a `CheckpointError` where they differ."""
    for file in files:
        header = read_header(folder / file.name, file.name)
        found = [(entry.name, entry.dtype, entry.shape) for entry in header.tensors.values()]
        if sorted(found) != sorted((tensor.name, tensor.dtype, tensor.shape) for tensor in file.tensors):
            raise CheckpointError(f"{file.name}: was written, and does not hold what the plan says")
