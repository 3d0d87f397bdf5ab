"""What a conversion will do, as plain data: which tensors come to be how, and what file each lies in."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from fnmatch import fnmatchcase
from itertools import pairwise
from typing import Any

from .errors import refuse
from .headers import DTYPE_BITS, Header, TensorEntry, make_header
from .tensor_plan import COMPUTED, TensorPlan, keep
from .weights import SINGLE, Weights


# How a file of the output comes to be, the cheapest first
UNCHANGED, NEW_HEADER, REBUILT, COMPUTED_FILE = "unchanged", "new header", "rebuilt", "transformed"


@dataclass(frozen=True)
class FilePlan:
    """
    A file of the output.

    Attributes:
        source: The file that is taken whole; `None` where `header` and the tensors' bytes are put together.
        header: The first bytes of the file.
        how: `unchanged`, `new header` (bytes of one file, none computed), `rebuilt` (of several, or in another order)
            or `transformed` (some are computed).
    """

    name: str
    num_bytes: int
    how: str
    tensors: tuple[TensorPlan, ...]
    source: str | None = None
    header: bytes = b""


@dataclass(frozen=True)
class NamedTensor:
    """A tensor of the source, and what there is to say of it: why it is left out, or why loading ignores it."""

    name: str
    file: str
    reason: str


@dataclass(frozen=True)
class WeightsPlan:
    """All files of the output that hold tensors, what is left out, what is kept unused, and the index where there is one."""

    files: tuple[FilePlan, ...]
    dropped: tuple[NamedTensor, ...]
    unused: tuple[NamedTensor, ...]
    index: Mapping[str, Any] | None

    @property
    def num_tensors(self) -> int:
        return sum(len(file.tensors) for file in self.files)

    @property
    def num_bytes(self) -> int:
        return sum(file.num_bytes for file in self.files)

    def to_dict(self) -> dict[str, Any]:
        """The plan as plain data; headers follow from it."""
        files = [{name: value for name, value in asdict(file).items() if name != "header"} for file in self.files]
        return {"files": files, "dropped": list(map(asdict, self.dropped)), "unused": list(map(asdict, self.unused))}


def renamed(name: str, beginnings: Mapping[str, str]) -> str:
    """A name with the first of the beginnings that it has replaced."""
    for old, new in beginnings.items():
        if name.startswith(old):
            return new + name[len(old) :]
    return name


def inverted(beginnings: Mapping[str, str]) -> dict[str, str]:
    """The table for the way back."""
    return {new: old for old, new in beginnings.items()}


def read_tensors(
    weights: Weights, names: Mapping[str, str], dropped: Mapping[str, str]
) -> tuple[dict[str, TensorPlan], tuple[NamedTensor, ...]]:
    """
    The tensors of a checkpoint under the family's names, in their order, and those that are left out.

    Raises:
        CheckpointError: where two tensors come to have one name.
    """
    tensors: dict[str, TensorPlan] = {}
    left_out, problems = [], []
    for file, entry in weights.tensors():
        name = renamed(entry.name, names)
        if reason := reason_of(entry.name, dropped):
            left_out.append(NamedTensor(entry.name, file, reason))
        elif name in tensors:
            problems.append(f"{entry.name!r} and {tensors[name].pieces[0].tensor!r} are both {name!r}")
        else:
            tensors[name] = keep(name, file, entry, weights.files[file].data_start)
    refuse(f"{weights.folder}: holds tensors under two names", problems)
    return tensors, tuple(left_out)


def sources_of(tensors: Iterable[TensorPlan], reason: str) -> Iterator[NamedTensor]:
    """The tensors of the source that some are made of, each once."""
    pieces = {(piece.tensor, piece.file): None for tensor in tensors for piece in tensor.pieces}
    return (NamedTensor(name, file, reason) for name, file in pieces)


def reason_of(tensor: str, reasons: Mapping[str, str]) -> str | None:
    """The reason whose pattern matches a tensor; `None` where none does."""
    return next((reason for pattern, reason in reasons.items() if fnmatchcase(tensor, pattern)), None)


def unused_tensors(tensors: Mapping[str, TensorPlan], unused: Mapping[str, str]) -> dict[str, NamedTensor]:
    """Those that loading ignores, by the family's names."""
    pieces = ((name, tensor.pieces[0]) for name, tensor in tensors.items())
    return {
        name: NamedTensor(piece.tensor, piece.file, reason)
        for name, piece in pieces
        if (reason := reason_of(piece.tensor, unused))
    }


def with_names(tensors: Iterable[TensorPlan], names: Mapping[str, str]) -> Iterator[TensorPlan]:
    """The tensors under the names of the output."""
    for tensor in tensors:
        name = renamed(tensor.name, names)
        moved = tensor.operation == "keep" and name != tensor.pieces[0].tensor
        yield replace(tensor, name=name, operation="rename" if moved else tensor.operation)


def in_files(tensors: Iterable[TensorPlan], file_of: Callable[[TensorPlan], str]) -> dict[str, list[TensorPlan]]:
    """The tensors by the files that they are to lie in."""
    files: dict[str, list[TensorPlan]] = {}
    for tensor in tensors:
        files.setdefault(file_of(tensor), []).append(tensor)
    return files


def in_shards(tensors: Iterable[TensorPlan], max_bytes: int) -> dict[str, list[TensorPlan]]:
    """The tensors, in their order, in files of at most so many bytes of data; a larger tensor has a file of its own."""
    shards: list[list[TensorPlan]] = []
    room = 0
    for tensor in tensors:
        if not shards or tensor.num_bytes > room:
            shards.append([])
            room = max_bytes
        shards[-1].append(tensor)
        room -= tensor.num_bytes
    if len(shards) == 1:
        return {SINGLE: shards[0]}
    return {f"model-{at:05}-of-{len(shards):05}.safetensors": shard for at, shard in enumerate(shards, start=1)}


def plan_weights(
    files: Mapping[str, list[TensorPlan]],
    weights: Weights,
    dropped: tuple[NamedTensor, ...],
    unused: tuple[NamedTensor, ...],
) -> WeightsPlan:
    """
    Plan the files of the output.

    Args:
        files: The tensors under their last names, by the files that they are to lie in.
        weights: The source.
    """
    refuse("The output would hold a tensor twice", doubles(files))
    return WeightsPlan(
        files=tuple(plan_file(name, tensors, weights) for name, tensors in files.items()),
        dropped=dropped,
        unused=unused,
        index=None if set(files) == {SINGLE} else make_index(files, weights.index_metadata or {}),
    )


def doubles(files: Mapping[str, list[TensorPlan]]) -> Iterator[str]:
    names: set[str] = set()
    for tensor in (tensor for tensors in files.values() for tensor in tensors):
        if tensor.name in names:
            yield f"{tensor.name!r}, from {tensor.file}"
        names.add(tensor.name)


def plan_file(name: str, tensors: list[TensorPlan], weights: Weights) -> FilePlan:
    """The source's file as it is where it holds the same under the same names, else a new header and the tensors' bytes."""
    origin = tensors[0].file
    header = weights.files[origin]
    if is_whole(tensors, origin, header):
        return FilePlan(name, header.file_size, UNCHANGED, tuple(tensors), source=origin)
    ordered = in_order(tensors)
    metadata = {"format": "pt", **header.metadata}
    head = make_header(entries_of(ordered), metadata, beside=ordered[0].pieces[0].start)
    num_bytes = len(head) + sum(tensor.num_bytes for tensor in ordered)
    return FilePlan(name, num_bytes, how_made(ordered), tuple(ordered), header=head)


def is_whole(tensors: list[TensorPlan], file: str, header: Header) -> bool:
    """Whether these are all the tensors of a file of the source, as they are."""
    kept = all(tensor.operation == "keep" and tensor.file == file for tensor in tensors)
    return kept and len(tensors) == len(header.tensors)


def in_order(tensors: list[TensorPlan]) -> list[TensorPlan]:
    """
    The tensors in the order of their bytes. Where that is not the one they have in one file of the source, the wider
    dtypes come first, as the safetensors library has it, so that every element is aligned.
    """
    if are_in_place(tensors):
        return tensors
    return sorted(tensors, key=lambda tensor: -DTYPE_BITS[tensor.dtype])


def are_in_place(tensors: list[TensorPlan]) -> bool:
    """Whether the tensors follow one another, without a gap, in one file of the source."""
    runs = [(tensor.file, tensor.pieces[0].start, tensor.num_bytes) for tensor in tensors]
    whole = all(tensor.operation in ("keep", "rename") for tensor in tensors)
    return whole and all((first[0], first[1] + first[2]) == (second[0], second[1]) for first, second in pairwise(runs))


def how_made(tensors: list[TensorPlan]) -> str:
    """Which way of making a file this is."""
    if any(tensor.operation in COMPUTED for tensor in tensors):
        return COMPUTED_FILE
    one_file = {tensor.file for tensor in tensors} == {tensors[0].file}
    return NEW_HEADER if one_file and all(tensor.operation in ("keep", "rename") for tensor in tensors) else REBUILT


def entries_of(tensors: Iterable[TensorPlan]) -> Iterator[TensorEntry]:
    """Entries of a header."""
    position = 0
    for tensor in tensors:
        yield TensorEntry(tensor.name, tensor.dtype, tensor.shape, position, position + tensor.num_bytes)
        position += tensor.num_bytes


def make_index(files: Mapping[str, list[TensorPlan]], metadata: Mapping[str, Any]) -> dict[str, Any]:
    """The index of the output: `total_size` in bytes and `total_parameters` are those of the tensors in it."""
    tensors = [tensor for file_tensors in files.values() for tensor in file_tensors]
    totals = {
        "total_parameters": sum(tensor.num_elements for tensor in tensors),
        "total_size": sum(tensor.num_bytes for tensor in tensors),
    }
    weight_map = {tensor.name: name for name, file_tensors in files.items() for tensor in file_tensors}
    return {"metadata": {**metadata, **totals}, "weight_map": dict(sorted(weight_map.items()))}
