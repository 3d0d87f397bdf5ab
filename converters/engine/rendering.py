"""The bytes of a planned tensor, in bounded chunks: read, put together, computed."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping

from .errors import CheckpointError
from .tensor_plan import COMPUTED, Piece, TensorPlan


# The bytes of a tensor that is computed, as `render` gives them
Compute = Callable[[TensorPlan, Mapping[str, int]], Iterator[memoryview]]
CHUNK = 2**23  # bytes of the source in memory at once


def no_arithmetic(tensor: TensorPlan, files: Mapping[str, int]) -> Iterator[memoryview]:
    """For plans in which nothing is computed."""
    raise CheckpointError(f"{tensor.name!r} in {tensor.file}: to {tensor.operation} it, something has to compute")


def render(tensor: TensorPlan, files: Mapping[str, int], compute: Compute) -> Iterator[memoryview]:
    """
    The bytes of a tensor of the output, one chunk after another.

    Args:
        files: Name of a source's file -> its descriptor.
        compute: What does the arithmetic, where the bytes are not those of the source.

    Raises:
        CheckpointError: where a file ends before it should, or a number becomes infinite.
    """
    if tensor.operation in COMPUTED:
        yield from compute(tensor, files)
        return
    for piece in tensor.pieces:
        yield from gathered(files[piece.file], piece)


def gathered(reading: int, piece: Piece) -> Iterator[memoryview]:
    """The bytes of a piece; all chunks but the last of a run hold whole elements."""
    if piece.count == 1:
        for start in range(0, piece.size, CHUNK):
            yield read_exactly(reading, piece.start + start, min(CHUNK, piece.size - start))
        return
    rows = max(1, CHUNK // piece.stride)
    for row in range(0, piece.count, rows):
        count = min(rows, piece.count - row)
        block = read_exactly(reading, piece.start + row * piece.stride, (count - 1) * piece.stride + piece.size)
        yield memoryview(b"".join(block[at * piece.stride :][: piece.size] for at in range(count)))


def file_chunks(reading: int, num_bytes: int) -> Iterator[memoryview]:
    """The first bytes of a file."""
    for start in range(0, num_bytes, CHUNK):
        yield read_exactly(reading, start, min(CHUNK, num_bytes - start))


def read_exactly(reading: int, offset: int, size: int) -> memoryview:
    """So many bytes of a file; a `CheckpointError` where it has fewer."""
    content = memoryview(bytearray(size))
    done = 0
    while done < size:
        if not (got := os.preadv(reading, [content[done:]], offset + done)):
            raise CheckpointError(
                f"the source ended at byte {offset + done} of {offset + size}: it was truncated while it was read"
            )
        done += got
    return content


def bytes_at(files: Mapping[str, int], pieces: Iterable[Piece], start: int, size: int) -> memoryview:
    """So many bytes of pieces that follow one another, each in one run."""
    parts = []
    for piece in pieces:
        first, last = max(start, 0), min(start + size, piece.num_bytes)
        if first < last:
            parts.append(read_exactly(files[piece.file], piece.start + first, last - first))
        start -= piece.num_bytes
    return parts[0] if len(parts) == 1 else memoryview(bytearray(b"".join(parts)))
