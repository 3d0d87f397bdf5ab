"""
What the tensors of an output are made of: bytes of the source's files, and what is done to them. Plain data.

Tensors are planned under the family's names; a tensor's pieces follow one another in the order of their bytes.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from .errors import CheckpointError
from .headers import DTYPE_BITS, Shape, TensorEntry, num_bytes_of


Operation = Literal["keep", "rename", "stack", "split", "slice", "prune", "mean", "cast", "dequantise"]

# The operations whose results are other bytes than their pieces
COMPUTED: tuple[Operation, ...] = ("prune", "mean", "cast", "dequantise")
# The dtypes of weights that are not quantised, as safetensors names them -> as torch does
TORCH_DTYPES = {"F16": "float16", "BF16": "bfloat16", "F32": "float32", "F64": "float64"}
DTYPES = {name: dtype for dtype, name in TORCH_DTYPES.items()}
FLOATS = tuple(TORCH_DTYPES)
# Those of weights that are: FP8, and two values of four bits in a byte
FP8, PACKED = "F8_E4M3", "U8"


@dataclass(frozen=True)
class Piece:
    """
    A part of a source tensor, with the dtype and shape that this part has: `count` runs of `size` bytes each, whose
    beginnings are `stride` bytes apart, from offset `start` of the file.
    """

    file: str
    tensor: str
    dtype: str
    shape: Shape
    start: int
    size: int
    count: int = 1
    stride: int = 0

    @property
    def num_bytes(self) -> int:
        return self.size * self.count


@dataclass(frozen=True)
class TensorPlan:
    """
    A tensor of the output: its pieces one after another, `cast` each, or `dequantise`d: multiplied with `scales`.
    Of several operations the costliest is named. `prune` takes of the pieces, which have the shape `whole` together, the
    indices `kept` of each dimension, `None` for all. `mean` averages as many pieces as there are for one of their size.
    """

    name: str
    dtype: str
    shape: Shape
    operation: Operation
    pieces: tuple[Piece, ...]
    scales: tuple["TensorPlan", ...] = ()
    kept: tuple[tuple[int, ...] | None, ...] = ()
    whole: Shape = ()

    @property
    def num_bytes(self) -> int:
        return num_bytes_of(self.dtype, self.shape)

    @property
    def num_elements(self) -> int:
        return math.prod(self.shape)

    @property
    def file(self) -> str:
        """The source file in which the tensor begins."""
        return self.pieces[0].file


def keep(name: str, file: str, entry: TensorEntry, data_start: int) -> TensorPlan:
    """A tensor of the source as it is, called `name`."""
    piece = Piece(file, entry.name, entry.dtype, entry.shape, data_start + entry.start, entry.num_bytes)
    return TensorPlan(name, entry.dtype, entry.shape, "keep", (piece,))


def narrow(piece: Piece, dim: int, first: int, last: int) -> Piece:
    """
    The elements `first` to `last` (exclusive) of dimension `dim` of a piece in one run.

    Raises:
        CheckpointError: where they do not begin and end with whole bytes.
    """
    bits = math.prod(piece.shape[dim + 1 :]) * DTYPE_BITS[piece.dtype]
    if first * bits % 8 or last * bits % 8 or piece.shape[dim] * bits % 8:
        raise CheckpointError(f"{piece.tensor!r} ({piece.dtype}) cannot be sliced inside a byte")
    shape = (*piece.shape[:dim], last - first, *piece.shape[dim + 1 :])
    start, size = piece.start + first * bits // 8, (last - first) * bits // 8
    count, stride = math.prod(piece.shape[:dim]), piece.shape[dim] * bits // 8
    if size == stride or count == 1:
        return replace(piece, shape=shape, start=start, size=size * count)
    return replace(piece, shape=shape, start=start, size=size, count=count, stride=stride)


def slice_tensor(tensor: TensorPlan, dim: int, first: int, last: int) -> TensorPlan:
    """The elements `first` to `last` (exclusive) of dimension `dim` of a tensor of one piece."""
    (piece,) = tensor.pieces
    narrowed = narrow(piece, dim, first, last)
    return replace(tensor, shape=narrowed.shape, operation="slice", pieces=(narrowed,))


def take(tensor: TensorPlan, kept: Mapping[int, Sequence[int]]) -> TensorPlan:
    """
    Some indices of dimensions of a tensor; of its first dimension alone they are runs of bytes.

    Args:
        kept: Dimension -> indices that stay, in their order.
    """
    kept = {dim: indices for dim, indices in kept.items() if list(indices) != list(range(tensor.shape[dim]))}
    shape = tuple(len(kept.get(dim, range(size))) for dim, size in enumerate(tensor.shape))
    if not kept:
        return tensor
    if kept.keys() == {0} and len(tensor.pieces) == 1:
        pieces = tuple(narrow(tensor.pieces[0], 0, first, last) for first, last in runs(kept[0]))
        return replace(tensor, shape=shape, operation="slice", pieces=pieces)
    chosen = tuple(tuple(kept[dim]) if dim in kept else None for dim in range(len(tensor.shape)))
    return replace(tensor, shape=shape, operation="prune", kept=chosen, whole=tensor.shape)


def runs(indices: Iterable[int]) -> list[tuple[int, int]]:
    """Indices that follow one another, as (first, one after the last)."""
    found: list[tuple[int, int]] = []
    for index in indices:
        if found and found[-1][1] == index:
            found[-1] = found[-1][0], index + 1
        else:
            found.append((index, index + 1))
    return found


def average(tensor: TensorPlan, groups: Sequence[Sequence[tuple[int, int]]]) -> TensorPlan:
    """
    Runs of the first dimension averaged.

    Args:
        groups: For each run of the result, those that it is the mean of: (first, one after the last).
    """
    pieces = tuple(narrow(tensor.pieces[0], 0, first, last) for group in groups for first, last in group)
    rows = sum(group[0][1] - group[0][0] for group in groups)
    return replace(tensor, shape=(rows, *tensor.shape[1:]), operation="mean", pieces=pieces)


def stack(name: str, tensors: Sequence[TensorPlan]) -> TensorPlan:
    """Tensors of one dtype and shape as one, with a new first dimension; `CheckpointError` where they differ."""
    first = tensors[0]
    if other := next((each for each in tensors if (each.dtype, each.shape) != (first.dtype, first.shape)), None):
        raise CheckpointError(
            f"{name!r} cannot be stacked: {first.name!r} is {first.dtype} {list(first.shape)}, "
            f"{other.name!r} is {other.dtype} {list(other.shape)}"
        )
    pieces = tuple(piece for tensor in tensors for piece in tensor.pieces)
    return TensorPlan(name, first.dtype, (len(tensors), *first.shape), "stack", pieces)


def join(
    tensors: Mapping[str, TensorPlan], groups: Mapping[str, tuple[str, ...]], shapes: Mapping[str, Shape]
) -> dict[str, TensorPlan]:
    """
    The tensors, those that are there in all their parts as one in the place of the first: plain numbers of one dtype, as
    many as the whole has.

    Args:
        groups: Name -> names of its parts, in the order of their bytes.
        shapes: Of the wholes.
    """
    whole: dict[str, TensorPlan] = {}
    for name, parts in groups.items():
        found = [tensors[part] for part in parts if part in tensors]
        dtypes = {part.dtype for part in found}
        fits = len({part.shape for part in found}) == 1 and sum(p.num_elements for p in found) == math.prod(
            shapes[name]
        )
        if name not in tensors and len(found) == len(parts) and fits and dtypes <= set(FLOATS) and len(dtypes) == 1:
            pieces = tuple(piece for part in found for piece in part.pieces)
            whole[parts[0]] = TensorPlan(name, found[0].dtype, shapes[name], "stack", pieces)
    gone = {part for tensor in whole.values() for part in groups[tensor.name]}
    placed = ((whole.get(name, tensor)) for name, tensor in tensors.items() if name in whole or name not in gone)
    return {tensor.name: tensor for tensor in placed}


def take_apart(
    tensors: Mapping[str, TensorPlan], parts: Mapping[str, tuple[str, ...]], shapes: Mapping[str, Shape]
) -> dict[str, TensorPlan]:
    """
    The tensors, those with parts as these.

    Args:
        parts: Name -> names of the parts, which are its rows one below the other.
        shapes: Of the parts.

    Raises:
        CheckpointError: where a tensor has not the rows of its parts.
    """
    found: dict[str, TensorPlan] = {}
    for name, tensor in tensors.items():
        names = parts.get(name, (name,))
        if len(names) == 1:
            found[names[0]] = replace(tensor, name=names[0])
            continue
        wanted = [shapes.get(part, (0,)) for part in names]
        rows = sum(shape[0] for shape in wanted)
        if tensor.shape[:1] != (rows,):
            raise CheckpointError(
                f"{name!r} ({tensor.file}): shape {list(tensor.shape)}, and its parts have {rows} rows: "
                f"{', '.join(f'{part} {list(shape)}' for part, shape in zip(names, wanted, strict=True))}"
            )
        first = 0
        for part, shape in zip(names, wanted, strict=True):
            found[part] = replace(slice_tensor(tensor, 0, first, first + shape[0]), name=part)
            first += shape[0]
    return found


def put_together(tensors: Mapping[str, TensorPlan], parts: Mapping[str, tuple[str, ...]]) -> dict[str, TensorPlan]:
    """
    The inverse of `take_apart`: a tensor in the place of the first of its parts.

    Raises:
        CheckpointError: where parts are missing, or cannot be put below one another.
    """
    wholes = {names[0]: (whole, names) for whole, names in parts.items()}
    gone = {name for names in parts.values() for name in names[1:]}
    found: dict[str, TensorPlan] = {}
    for name, tensor in tensors.items():
        whole, names = wholes.get(name, (name, (name,)))
        if name in gone:
            continue
        each = [tensors[part] for part in names if part in tensors]
        alike = {(part.dtype, part.shape[1:], part.operation in ("prune", "mean", "dequantise")) for part in each}
        if len(each) > 1 and (len(alike) > 1 or alike.pop()[2]):
            raise CheckpointError(f"{whole!r} cannot be put together of {list(names)}: they are computed, or no alike")
        if len(each) < len(names):
            raise CheckpointError(f"{whole!r} cannot be put together: not all of {list(names)} are there")
        shape = (sum(part.shape[0] for part in each), *tensor.shape[1:])
        operation: Operation = tensor.operation if len(each) == 1 or tensor.operation == "cast" else "stack"
        pieces = tuple(piece for part in each for piece in part.pieces)
        found[whole] = replace(tensor, name=whole, shape=shape, operation=operation, pieces=pieces)
    return found


def split(tensor: TensorPlan, names: Sequence[str]) -> list[TensorPlan]:
    """The inverse of `stack`: the entries of the first dimension as tensors of their own."""
    (piece,) = tensor.pieces
    single = tensor.shape[1:]
    return [
        TensorPlan(name, tensor.dtype, single, "split", (replace(narrow(piece, 0, at, at + 1), shape=single),))
        for at, name in enumerate(names)
    ]


def cast(tensor: TensorPlan, dtype: str) -> TensorPlan:
    """A tensor in another dtype. Where it is to be dequantised, it is at once to this one."""
    operation: Operation = "dequantise" if tensor.operation == "dequantise" else "cast"
    return tensor if tensor.dtype == dtype else replace(tensor, dtype=dtype, operation=operation)


def dequantise_mxfp4(name: str, blocks: TensorPlan, scales: TensorPlan, dtype: str) -> TensorPlan:
    """
    Experts in MXFP4 as floating point, transposed as transformers has them.

    Args:
        blocks: U8 `[experts, out, in / 32, 16]`, two values a byte.
        scales: U8 `[experts, out, in / 32]`, exponents of two, plus 127.
        dtype: Of the result, `[experts, in, out]`.
    """
    num_experts, num_out, num_groups, size = blocks.shape
    shape = (num_experts, num_groups * size * 2, num_out)
    return TensorPlan(name, dtype, shape, "dequantise", blocks.pieces, (scales,))


def dequantise(weight: TensorPlan, scales: Iterable[TensorPlan], shape: Shape, dtype: str) -> TensorPlan:
    """A weight in FP8 or NVFP4, of this shape when it is unpacked, as floating point: each value times its scales."""
    return TensorPlan(weight.name, dtype, shape, "dequantise", weight.pieces, tuple(scales))


def stack_groups(
    tensors: Mapping[str, TensorPlan], groups: Mapping[str, tuple[str, ...]]
) -> tuple[dict[str, TensorPlan], list[str]]:
    """
    Stack what stands singly.

    Args:
        groups: Stacked name -> single names.

    Returns:
        The tensors, the stacked ones in the places of their first; and what cannot be stacked.
    """
    places, problems = {}, []
    for stacked, names in groups.items():
        if found := [name for name in names if name in tensors]:
            places[found[0]] = stacked
            problems += [
                f"{stacked!r} cannot be stacked: {name!r} is missing" for name in names if name not in tensors
            ]
    if problems:
        return dict(tensors), problems
    taken = {name for stacked in places.values() for name in groups[stacked]}
    changed: dict[str, TensorPlan] = {}
    for name, tensor in tensors.items():
        if name in places:
            try:
                changed[places[name]] = stack(places[name], [tensors[single] for single in groups[places[name]]])
            except CheckpointError as error:
                problems.append(str(error))
        elif name not in taken:
            changed[name] = tensor
    return changed, problems


def split_groups(tensors: Mapping[str, TensorPlan], groups: Mapping[str, tuple[str, ...]]) -> dict[str, TensorPlan]:
    """Split what stands stacked; the single tensors take its place."""
    changed: dict[str, TensorPlan] = {}
    for name, tensor in tensors.items():
        singles = split(tensor, groups[name]) if name in groups else [tensor]
        changed |= {single.name: single for single in singles}
    return changed
