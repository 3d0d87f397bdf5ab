"""What a conversion will do, as plain data: which tensors stay, which files are taken whole, which are put together anew."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from .errors import refuse
from .family import Shape
from .headers import Header, TensorEntry, make_header
from .weights import Weights


# The dtypes of weights that are not quantised, as safetensors names them
FLOATS = ("F16", "BF16", "F32", "F64")


@dataclass(frozen=True)
class Span:
    """Bytes of a source file: `size` of them from offset `start` of the file."""

    start: int
    size: int


@dataclass(frozen=True)
class FilePlan:
    """A file of the output: without `header` the source file unchanged, with it the header and then the spans' bytes."""

    name: str
    num_bytes: int
    header: bytes | None = None
    spans: tuple[Span, ...] = ()


@dataclass(frozen=True)
class DroppedTensor:
    """A tensor that is left out, and why."""

    name: str
    file: str
    reason: str


@dataclass(frozen=True)
class WeightsPlan:
    """All files of the output that hold tensors, what is left out, and the index where there was one."""

    files: tuple[FilePlan, ...]
    dropped: tuple[DroppedTensor, ...]
    num_tensors: int
    index: Mapping[str, Any] | None


def plan_weights(weights: Weights, dropped: Mapping[str, str]) -> WeightsPlan:
    """
    Plan the output of weights whose names stay.

    Args:
        weights: What the checkpoint holds.
        dropped: Pattern of tensor names -> why they are left out.
    """
    reasons = {entry.name: drop_reason(entry.name, dropped) for _, entry in weights.tensors()}
    kept = {file_name: kept_entries(header, reasons) for file_name, header in weights.files.items()}
    kept = {file_name: entries for file_name, entries in kept.items() if entries}
    return WeightsPlan(
        files=tuple(plan_file(file_name, weights.files[file_name], entries) for file_name, entries in kept.items()),
        dropped=tuple(
            DroppedTensor(entry.name, file_name, reason)
            for file_name, entry in weights.tensors()
            if (reason := reasons[entry.name])
        ),
        num_tensors=sum(len(entries) for entries in kept.values()),
        index=None if weights.index_metadata is None else make_index(kept, weights.index_metadata),
    )


def drop_reason(tensor: str, dropped: Mapping[str, str]) -> str | None:
    """Why a tensor is left out; `None` where it stays."""
    return next((reason for pattern, reason in dropped.items() if fnmatchcase(tensor, pattern)), None)


def kept_entries(header: Header, reasons: Mapping[str, str | None]) -> list[TensorEntry]:
    return [entry for entry in header.tensors.values() if reasons[entry.name] is None]


def plan_file(file_name: str, header: Header, kept: list[TensorEntry]) -> FilePlan:
    """The file as it is where all its tensors stay, else a new header and the bytes of those that stay."""
    if len(kept) == len(header.tensors):
        return FilePlan(file_name, header.file_size)
    new_header = make_header(kept, {"format": "pt", **header.metadata})
    num_bytes = len(new_header) + sum(entry.num_bytes for entry in kept)
    return FilePlan(file_name, num_bytes, new_header, tuple(merge_spans(header.data_start, kept)))


def merge_spans(data_start: int, entries: list[TensorEntry]) -> Iterator[Span]:
    """The bytes of tensors, given in their order; neighbours become one span."""
    start = end = 0
    for entry in entries:
        if entry.start != end and end > start:
            yield Span(data_start + start, end - start)
        start, end = (start if entry.start == end else entry.start), entry.end
    if end > start:
        yield Span(data_start + start, end - start)


def make_index(kept: Mapping[str, list[TensorEntry]], metadata: Mapping[str, Any]) -> dict[str, Any]:
    """The index of the output: `total_size` in bytes and `total_parameters` are those of the tensors that stay."""
    entries = [entry for file_entries in kept.values() for entry in file_entries]
    totals = {
        "total_parameters": sum(entry.num_elements for entry in entries),
        "total_size": sum(entry.num_bytes for entry in entries),
    }
    weight_map = {entry.name: file_name for file_name, file_entries in kept.items() for entry in file_entries}
    return {"metadata": {**metadata, **totals}, "weight_map": dict(sorted(weight_map.items()))}


def check_tensors(
    weights: Weights, plan: WeightsPlan, expected: Mapping[str, Shape], optional: Mapping[str, Shape]
) -> None:
    """
    Compare the tensors that stay with those that the model has.

    Raises:
        CheckpointError: names every tensor that is missing, unexpected or of another shape.
    """
    left_out = {tensor.name for tensor in plan.dropped}
    found = {
        entry.name: (file_name, entry.shape) for file_name, entry in weights.tensors() if entry.name not in left_out
    }
    refuse(
        f"{weights.folder}: quantised tensors cannot be converted",
        dtype_problems(weights),
        remedy="Convert the checkpoint that this one was made from.",
    )
    refuse(
        f"{weights.folder}: the tensors are not those that config.json describes",
        tensor_problems(found, expected, optional),
    )


def tensor_problems(
    found: Mapping[str, tuple[str, Shape]], expected: Mapping[str, Shape], optional: Mapping[str, Shape]
) -> Iterator[str]:
    for tensor, shape in expected.items():
        if tensor not in found:
            yield f"{tensor!r} is missing: expected with shape {list(shape)}"
    allowed = {**optional, **expected}
    for tensor, (file_name, shape) in found.items():
        if tensor not in allowed:
            yield f"{tensor!r} in {file_name} is unexpected: the model has no such tensor (shape {list(shape)})"
        elif allowed[tensor] != shape:
            yield f"{tensor!r} in {file_name} has shape {list(shape)}, expected {list(allowed[tensor])}"


def dtype_problems(weights: Weights) -> Iterator[str]:
    """Tensors that are stored in other numbers than floating point of 16 bits and more: quantised ones."""
    for file_name, entry in weights.tensors():
        if entry.dtype not in FLOATS:
            yield f"{entry.name!r} in {file_name} has dtype {entry.dtype}, allowed are {', '.join(FLOATS)}"
