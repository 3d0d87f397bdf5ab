"""What is computed of the bytes of tensors: numbers in another dtype, and quantised ones as the numbers they stand for."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

import torch

from .engine import rendering
from .engine.errors import CheckpointError
from .engine.headers import DTYPE_BITS, num_bytes_of
from .engine.rendering import bytes_at, gathered, read_exactly
from .engine.tensor_plan import FP8, TORCH_DTYPES, Piece, TensorPlan, runs


# What four bits mean in MXFP4: sign, two bits of exponent, one of mantissa
FP4_VALUES = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, -0.0, -0.5, -1.0, -1.5, -2.0, -3.0, -4.0, -6.0)
EXPONENT_BIAS = 127
FP8_BLOCK = 128  # rows and columns of the squares that may have a scale each


def compute(tensor: TensorPlan, files: Mapping[str, int]) -> Iterator[memoryview]:
    """The bytes of a tensor that is computed, as `render` asks for them."""
    if tensor.operation == "dequantise":
        is_mxfp4 = tensor.pieces[0].dtype != FP8 and len(tensor.scales) == 1
        yield from (dequantised_experts if is_mxfp4 else dequantised)(files, tensor)
        return
    if tensor.operation in ("prune", "mean"):
        yield from (pruned if tensor.operation == "prune" else averaged)(files, tensor)
        return
    for piece in tensor.pieces:
        yield from cast_chunks(gathered(files[piece.file], piece), piece, tensor.dtype)


def pruned(files: Mapping[str, int], tensor: TensorPlan) -> Iterator[memoryview]:
    """Some indices of each dimension, a bounded number of the first one's at a time."""
    bits = DTYPE_BITS[tensor.dtype]
    dtype = {8: torch.uint8, 16: torch.int16, 32: torch.int32, 64: torch.int64}[bits]
    size = num_bytes_of(tensor.dtype, tensor.whole[1:])
    first = tensor.kept[0] if tensor.kept[0] is not None else range(tensor.whole[0])
    step = max(1, rendering.CHUNK // max(1, size))
    picked = {dim: torch.tensor(kept) for dim, kept in enumerate(tensor.kept) if dim and kept is not None}
    for start, end in runs(first):
        for row in range(start, end, step):
            count = min(step, end - row)
            content = bytes_at(files, tensor.pieces, row * size, count * size)
            numbers = torch.frombuffer(content, dtype=dtype).view(count, *tensor.whole[1:])
            for dim, kept in picked.items():
                numbers = numbers.index_select(dim, kept)
            yield bytes_of(numbers)


def averaged(files: Mapping[str, int], tensor: TensorPlan) -> Iterator[memoryview]:
    """The mean of as many pieces as there are for one, in float32 and then rounded."""
    dtype = getattr(torch, TORCH_DTYPES[tensor.dtype])
    number = len(tensor.pieces) * tensor.pieces[0].shape[0] // tensor.shape[0]
    for at in range(0, len(tensor.pieces), number):
        pieces = tensor.pieces[at : at + number]
        parts = [numbers_at(files, (piece,), 0, math.prod(piece.shape)) for piece in pieces]
        yield bytes_of((torch.stack(parts).sum(0) / number).to(dtype))


def norms(files: Mapping[str, int], tensor: TensorPlan, dim: int) -> torch.Tensor:
    """The sum of squares at each index of a dimension, in float64."""
    size = math.prod(tensor.shape[1:])
    step = max(1, rendering.CHUNK // max(1, size * 4))
    total = torch.zeros(tensor.shape[dim], dtype=torch.float64)
    for row in range(0, tensor.shape[0], step):
        count = min(step, tensor.shape[0] - row)
        numbers = numbers_at(files, tensor.pieces, row * size, count * size).double().view(count, *tensor.shape[1:])
        others = [other for other in range(numbers.dim()) if other != dim]
        squares = numbers.square().sum(others) if others else numbers.square()
        if dim:
            total += squares
        else:
            total[row : row + count] = squares
    return total


def cast_chunks(chunks: Iterator[memoryview], piece: Piece, wanted: str) -> Iterator[memoryview]:
    """Numbers of a piece in another dtype, as torch rounds them; a `CheckpointError` where one becomes infinite."""
    dtype, result = (getattr(torch, TORCH_DTYPES[name]) for name in (piece.dtype, wanted))
    narrower = torch.finfo(result).max < torch.finfo(dtype).max
    for chunk in chunks:
        numbers = torch.frombuffer(chunk, dtype=dtype)
        changed = numbers.to(result)
        if narrower and not are_finite(changed):
            check_finite(numbers[~changed.isfinite()], piece, wanted)
        yield bytes_of(changed)


def are_finite(numbers: torch.Tensor) -> bool:
    """Whether all numbers are; by their extremes, which take a fraction of the time."""
    return not numbers.numel() or all(end.isfinite() for end in numbers.aminmax())


def check_finite(numbers: torch.Tensor, piece: Piece, wanted: str) -> None:
    """Raise a `CheckpointError` where any of the numbers, none of which the wanted dtype holds, is finite."""
    if not numbers.isfinite().any():
        return
    number = float(numbers[numbers.isfinite()].abs().max())
    ends = {name: torch.finfo(getattr(torch, name)).max for name in TORCH_DTYPES.values()}
    dtype = TORCH_DTYPES[wanted]
    raise CheckpointError(
        f"{piece.file}: {piece.tensor!r} holds {number:.6g}, which would be infinite: {dtype} ends at {ends[dtype]:.6g}",
        remedy=f"Use --dtype {' or '.join(name for name, end in ends.items() if end >= number)}.",
    )


def bytes_of(tensor: torch.Tensor) -> memoryview:
    content: memoryview = memoryview(tensor.contiguous().view(-1).view(torch.uint8).numpy())
    return content


def dequantised(files: Mapping[str, int], tensor: TensorPlan) -> Iterator[memoryview]:
    """
    A weight in FP8 or NVFP4 times its scales, some rows at a time. They are multiplied in float32 and then rounded to
    the dtype that is wanted; in float64 where that is float64.
    """
    dtype = getattr(torch, TORCH_DTYPES[tensor.dtype])
    precision = torch.promote_types(dtype, torch.float32)
    num_rows = math.prod(tensor.shape[:-1])
    step = max(1, rendering.CHUNK // max(1, *tensor.shape[-1:]))
    for first in range(0, num_rows, step):
        rows = range(first, min(first + step, num_rows))
        numbers = multiplied(files, tensor, rows, precision).to(dtype)
        if not are_finite(numbers):
            exact = multiplied(files, tensor, rows, torch.float64)
            check_finite(exact[~numbers.isfinite()], tensor.pieces[0], tensor.dtype)
        yield bytes_of(numbers)


def multiplied(files: Mapping[str, int], tensor: TensorPlan, rows: range, dtype: Any) -> torch.Tensor:
    """Some rows of a quantised weight, in this precision: values times scales."""
    num_columns = math.prod(tensor.shape[-1:])
    if tensor.pieces[0].dtype == FP8:
        values = numbers_at(files, tensor.pieces, rows.start * num_columns, len(rows) * num_columns).to(dtype)
    else:
        packed = bytes_at(files, tensor.pieces, rows.start * num_columns // 2, len(rows) * num_columns // 2)
        values = pairs_of_values(dtype)[torch.frombuffer(packed, dtype=torch.uint8).int()]
    values = values.view(len(rows), num_columns)
    for scale in tensor.scales:
        values *= factors(files, scale, tensor, rows).to(dtype)
    return values


def factors(files: Mapping[str, int], scale: TensorPlan, tensor: TensorPlan, rows: range) -> torch.Tensor:
    """What some rows of a weight are multiplied with: `[rows, 1]`, or `[rows, columns]`."""
    *lead, num_rows, num_columns = (1, 1, *tensor.shape)
    if is_grouped(scale, tensor):
        num_groups = scale.shape[-1]
        found = numbers_at(files, scale.pieces, rows.start * num_groups, len(rows) * num_groups)
        return found.view(len(rows), num_groups).repeat_interleave(num_columns // num_groups, dim=1)
    found = numbers_at(files, scale.pieces, 0, scale.num_elements)
    if scale.num_elements == 1:
        return found.view(1, 1)
    at = torch.arange(rows.start, rows.stop)
    if is_blocked(scale, tensor):
        blocks = found.view(math.prod(lead), *(-(-size // FP8_BLOCK) for size in (num_rows, num_columns)))
        of_rows = blocks[at // num_rows, at % num_rows // FP8_BLOCK]
        return of_rows.repeat_interleave(FP8_BLOCK, dim=1)[:, :num_columns]
    of_rows = found if scale.num_elements == math.prod(tensor.shape[:-1]) else found.repeat_interleave(num_rows)
    return of_rows[at].view(-1, 1)


def is_grouped(scale: TensorPlan, tensor: TensorPlan) -> bool:
    """Whether a scale has an entry for each group of a row: the first of NVFP4's two."""
    return tensor.pieces[0].dtype != FP8 and scale is tensor.scales[0]


def is_blocked(scale: TensorPlan, tensor: TensorPlan) -> bool:
    """Whether a scale has an entry for each square of a matrix, not for each row or matrix."""
    shape = tensor.shape
    blocks = tuple(-(-size // FP8_BLOCK) for size in shape[-2:])
    return scale.shape == (*shape[:-2], *blocks) and scale.shape not in (shape[:-1], (*shape[:-1], 1))


def numbers_at(files: Mapping[str, int], pieces: tuple[Piece, ...], first: int, count: int) -> torch.Tensor:
    """So many numbers of pieces that follow one another, in float32, or float64 where they are in that."""
    itemsize = DTYPE_BITS[pieces[0].dtype] // 8
    dtype = torch.float8_e4m3fn if pieces[0].dtype == FP8 else getattr(torch, TORCH_DTYPES[pieces[0].dtype])
    content = bytes_at(files, pieces, first * itemsize, count * itemsize)
    numbers = torch.frombuffer(content, dtype=dtype) if count else torch.empty(0, dtype=dtype)
    return numbers.to(torch.float64 if dtype == torch.float64 else torch.float32)


def dequantised_experts(files: Mapping[str, int], tensor: TensorPlan) -> Iterator[memoryview]:
    """Experts in MXFP4 one by one: blocks `[out, in / 32, 16]` and scales `[out, in / 32]` become `[in, out]`."""
    dtype = getattr(torch, TORCH_DTYPES[tensor.dtype])
    values = pairs_of_values(dtype)
    num_experts, num_in, num_out = tensor.shape
    for expert in range(num_experts):
        pieces = tensor.pieces[0], tensor.scales[0].pieces[0]
        blocks, scales = (expert_bytes(files[piece.file], piece, expert) for piece in pieces)
        exponents = scales.view(-1, 1).to(torch.int32) - EXPONENT_BIAS
        numbers = values[blocks.int()].view(num_out * num_in // 32, 32)
        torch.ldexp(numbers, exponents, out=numbers)
        if not are_finite(numbers):
            exact = torch.ldexp(pairs_of_values(torch.float64)[blocks.int()].view_as(numbers), exponents)
            check_finite(exact[~numbers.isfinite()], tensor.pieces[0], tensor.dtype)
        yield bytes_of(numbers.view(num_out, num_in).T)


def expert_bytes(reading: int, piece: Piece, expert: int) -> torch.Tensor:
    """The bytes of one expert of a piece, flat."""
    size = num_bytes_of(piece.dtype, piece.shape[1:])
    return torch.frombuffer(read_exactly(reading, piece.start + expert * size, size), dtype=torch.uint8)


def pairs_of_values(dtype: Any) -> torch.Tensor:
    """Byte -> the two values in it, the lower four bits first."""
    values = torch.tensor(FP4_VALUES, dtype=dtype)
    return torch.stack([values.repeat(16), values.repeat_interleave(16)], dim=1)
