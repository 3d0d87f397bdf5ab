"""The bytes of a planned tensor, in bounded chunks: read, put together, computed."""

import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import CheckpointError
from .headers import num_bytes_of
from .pieces import Piece, TensorPlan


if TYPE_CHECKING:
    import torch


CHUNK = 2**23  # bytes of the source in memory at once
# What four bits mean in MXFP4: sign, two bits of exponent, one of mantissa
FP4_VALUES = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, -0.0, -0.5, -1.0, -1.5, -2.0, -3.0, -4.0, -6.0)
EXPONENT_BIAS = 127
# Names that safetensors has for dtypes, as torch calls them
TORCH_DTYPES = {"F16": "float16", "BF16": "bfloat16", "F32": "float32", "F64": "float64"}
DTYPES = {name: dtype for dtype, name in TORCH_DTYPES.items()}


def render(tensor: TensorPlan, folder: Path) -> Iterator[memoryview]:
    """
    The bytes of a tensor of the output, one chunk after another.

    Args:
        folder: The source.

    Raises:
        CheckpointError: where a file ends before it should, or a number becomes infinite.
    """
    with ExitStack() as stack:
        files = {piece.file: stack.enter_context((folder / piece.file).open("rb")) for piece in tensor.pieces}
        readings = [files[piece.file].fileno() for piece in tensor.pieces]
        if tensor.operation == "dequantise":
            yield from dequantised(readings, tensor)
        else:
            for reading, piece in zip(readings, tensor.pieces, strict=True):
                chunks = gathered(reading, piece)
                yield from (chunks if piece.dtype == tensor.dtype else cast_chunks(chunks, piece, tensor.dtype))


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


def file_chunks(path: Path, num_bytes: int) -> Iterator[memoryview]:
    """The first bytes of a file."""
    with path.open("rb") as file:
        for start in range(0, num_bytes, CHUNK):
            yield read_exactly(file.fileno(), start, min(CHUNK, num_bytes - start))


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


def cast_chunks(chunks: Iterator[memoryview], piece: Piece, wanted: str) -> Iterator[memoryview]:
    """Numbers of a piece in another dtype, as torch rounds them; a `CheckpointError` where one becomes infinite."""
    import torch

    dtype, result = (getattr(torch, TORCH_DTYPES[name]) for name in (piece.dtype, wanted))
    narrower = torch.finfo(result).max < torch.finfo(dtype).max
    for chunk in chunks:
        numbers = torch.frombuffer(chunk, dtype=dtype)
        changed = numbers.to(result)
        if narrower and not are_finite(changed):
            check_finite(numbers[~changed.isfinite()], piece, wanted)
        yield bytes_of(changed)


def are_finite(numbers: "torch.Tensor") -> bool:
    """Whether all numbers are; by their extremes, which take a fraction of the time."""
    return not numbers.numel() or all(end.isfinite() for end in numbers.aminmax())


def check_finite(numbers: "torch.Tensor", piece: Piece, wanted: str) -> None:
    """Raise a `CheckpointError` where any of the numbers, none of which the wanted dtype holds, is finite."""
    import torch

    if not numbers.isfinite().any():
        return
    number = float(numbers[numbers.isfinite()].abs().max())
    ends = {name: torch.finfo(getattr(torch, name)).max for name in TORCH_DTYPES.values()}
    dtype = TORCH_DTYPES[wanted]
    raise CheckpointError(
        f"{piece.file}: {piece.tensor!r} holds {number:.6g}, which would be infinite: {dtype} ends at {ends[dtype]:.6g}",
        remedy=f"Use --dtype {' or '.join(name for name, end in ends.items() if end >= number)}.",
    )


def bytes_of(tensor: "torch.Tensor") -> memoryview:
    import torch

    content: memoryview = memoryview(tensor.contiguous().view(-1).view(torch.uint8).numpy())
    return content


def dequantised(readings: list[int], tensor: TensorPlan) -> Iterator[memoryview]:
    """Experts in MXFP4 one by one: blocks `[out, in / 32, 16]` and scales `[out, in / 32]` become `[in, out]`."""
    import torch

    dtype = getattr(torch, TORCH_DTYPES[tensor.dtype])
    values = pairs_of_values(dtype)
    num_experts, num_in, num_out = tensor.shape
    for expert in range(num_experts):
        blocks, scales = (expert_bytes(*each, expert) for each in zip(readings, tensor.pieces, strict=True))
        exponents = scales.view(-1, 1).to(torch.int32) - EXPONENT_BIAS
        numbers = values[blocks.int()].view(num_out * num_in // 32, 32)
        torch.ldexp(numbers, exponents, out=numbers)
        if not are_finite(numbers):
            exact = torch.ldexp(pairs_of_values(torch.float64)[blocks.int()].view_as(numbers), exponents)
            check_finite(exact[~numbers.isfinite()], tensor.pieces[0], tensor.dtype)
        yield bytes_of(numbers.view(num_out, num_in).T)


def expert_bytes(reading: int, piece: Piece, expert: int) -> "torch.Tensor":
    """The bytes of one expert of a piece, flat."""
    import torch

    size = num_bytes_of(piece.dtype, piece.shape[1:])
    return torch.frombuffer(read_exactly(reading, piece.start + expert * size, size), dtype=torch.uint8)


def pairs_of_values(dtype: Any) -> "torch.Tensor":
    """Byte -> the two values in it, the lower four bits first."""
    import torch

    values = torch.tensor(FP4_VALUES, dtype=dtype)
    return torch.stack([values.repeat(16), values.repeat_interleave(16)], dim=1)
