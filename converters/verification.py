"""Whether two checkpoints are the same model, whatever formats, files and names their tensors are in."""

import hashlib
import os
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from .arithmetic import compute
from .checkpoint import Checkpoint, dtype_of, read_checkpoint
from .engine.errors import CheckpointError, reading
from .engine.headers import DTYPE_BITS
from .engine.open_files import held
from .engine.progress import progress_bar
from .engine.quantised import is_scale
from .engine.rendering import render
from .engine.tensor_layout import dequantise_all, regroup
from .engine.tensor_plan import DTYPES, TensorPlan
from .engine.transfer import Advance
from .formats.expression import without
from .hub import local_folder
from .pruning import without_empty_layers
from .quantisation import read_hf_quant_config


HEAD, EMBEDDINGS = "lm_head.weight", ("model.embed_tokens.weight", "model.embeddings.weight")
Tensors = Mapping[str, TensorPlan]
Digests = Mapping[str, str]
Files = Mapping[str, int]


@dataclass(frozen=True)
class Difference:
    """
    Something that is not the same in both.

    Attributes:
        name: The tensor, by the family's name, `config.<field>`, or `hf_quant_config.<field>` of ModelOpt's file.
        first: What it is in the first checkpoint: the file, and the published name if that is another, or the value.
        second: The same in the second; `None` where it is not there.
        problem: What differs, in words.
    """

    name: str
    first: str | None
    second: str | None
    problem: str


@dataclass(frozen=True)
class Comparison:
    """
    What a comparison found.

    `digest` is SHA-256 over the names, dtypes, shapes and SHA-256 of all tensors of the first checkpoint, in the order of
    the names, stacked experts taken singly: the same for the same tensors on any machine. `dequantised` is the checkpoint
    whose tensors, in MXFP4, FP8 or NVFP4, were taken for the numbers that they stand for, since the other is not quantised.
    """

    first: str
    second: str
    dequantised: str | None
    num_tensors: int
    num_bytes: int
    digest: str
    differences: tuple[Difference, ...]

    @property
    def same(self) -> bool:
        return not self.differences

    def to_dict(self) -> dict[str, Any]:
        """The comparison as plain data."""
        return {**asdict(self), "same": self.same}


def verify(
    first: str | Path,
    second: str | Path,
    jobs: int | None = None,
    revisions: tuple[str | None, str | None] = (None, None),
) -> Comparison:
    """
    Compare two checkpoints of one family: configs and ModelOpt's file as the family reads them, tensors by name, dtype,
    shape and digest. Where they differ in the number of layers, those that hold nothing do not count. What is quantised
    (MXFP4, FP8, NVFP4) is dequantised where the other checkpoint is not quantised. A config that names no dtype has that of
    its tensors. A head that is tied to the embedding does not count where it is a copy of it.

    Args:
        first: Folder, or repository of the hub.
        second: The same.
        jobs: Tensors read at a time; one per core by default.
        revisions: Branches, tags or commits of the repositories.

    Raises:
        CheckpointError: where one of them cannot be read.
    """
    folders = [local_folder(*each) for each in zip((first, second), revisions, strict=True)]
    sides = [read_side(folder) for folder in folders]
    if len({side.config.num_hidden_layers for side in sides}) > 1:
        sides = [without_empty_layers(side) for side in sides]
    tensors = [single_tensors(side) for side in sides]
    dequantised = None
    for at, name in enumerate((first, second)):
        if is_quantised(sides[at]) and sides[1 - at].method is None:
            sides[at], dequantised = unpacked(sides[at], tensors[at], sides[1 - at]), str(name)
            tensors[at] = sides[at].tensors
    with (
        held(sides[0].weights) as one,
        held(sides[1].weights) as other,
    ):
        files = [one.readings, other.readings]
        digests = all_digests(tensors, files, jobs)
        tensors = [without_copy(*each) for each in zip(sides, tensors, digests, strict=True)]
        compared = [with_tied_head(*each) for each in zip(sides, tensors, tensors[::-1], strict=True)]
        found = (
            *config_differences(*sides),
            *(() if dequantised else quantisation_differences(*sides)),
            *missing_tensors(*compared),
            *changed_tensors(compared, digests, files),
        )
    return Comparison(
        first=str(first),
        second=str(second),
        dequantised=dequantised,
        num_tensors=len(tensors[0]),
        num_bytes=sum(tensor.num_bytes for tensor in tensors[0].values()),
        digest=model_digest(tensors[0], digests[0]),
        differences=found,
    )


def read_side(folder: Path) -> Checkpoint:
    """A checkpoint to compare."""
    with reading(folder):
        return read_checkpoint(folder, by_scales=True)


def is_quantised(side: Checkpoint) -> bool:
    """Whether there are tensors that dequantising changes or leaves out."""
    return side.method == "mxfp4" or (side.method == "modelopt" and any(map(is_scale, side.tensors)))


def unpacked(checkpoint: Checkpoint, tensors: Tensors, other: Checkpoint) -> Checkpoint:
    """A checkpoint with what is quantised as numbers, in the other's dtype."""
    assert checkpoint.method is not None
    config = deepcopy(checkpoint.config)
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    tensors = dequantise_all(tensors, checkpoint.method, DTYPES[dtype_of(other.config)])
    return replace(checkpoint, config=config, tensors=dict(sorted(tensors.items())))


def single_tensors(checkpoint: Checkpoint) -> Tensors:
    """All tensors of a checkpoint by the family's names, stacked ones taken singly, in the order of their names."""
    tensors = dict(checkpoint.tensors)
    if checkpoint.groups:
        tensors = regroup(tensors, checkpoint.groups, "separate").tensors
    return dict(sorted(tensors.items()))


def is_tied(side: Checkpoint) -> bool:
    """Whether the head is the embedding."""
    return HEAD in side.published.family.optional(side.config)


def embedding_of(tensors: Tensors) -> str:
    """The name of the embedding, which is there in every model."""
    return next(name for name in EMBEDDINGS if name in tensors)


def without_copy(side: Checkpoint, tensors: Tensors, digests: Digests) -> Tensors:
    """The tensors without a head that is tied to the embedding and lies on disk as a copy of it."""
    forms = [
        (tensors[name].dtype, tensors[name].shape, digests[name])
        for name in (HEAD, embedding_of(tensors))
        if name in tensors
    ]
    if is_tied(side) and len(forms) == 2 and forms[0] == forms[1]:
        return {name: tensor for name, tensor in tensors.items() if name != HEAD}
    return tensors


def with_tied_head(side: Checkpoint, tensors: Tensors, others: Tensors) -> Tensors:
    """The tensors, and the embedding as the head that is tied to it, where the others have a head to compare it with."""
    if is_tied(side) and HEAD in others and HEAD not in tensors:
        return {**tensors, HEAD: tensors[embedding_of(tensors)]}
    return tensors


def all_digests(tensors: list[Tensors], files: list[Files], jobs: int | None) -> list[dict[str, str]]:
    """The digests of all tensors of each side, several read at a time."""
    total = sum(tensor.num_bytes for side in tensors for tensor in side.values())
    digests = []
    with progress_bar(total) as advance, ThreadPoolExecutor(jobs or os.cpu_count() or 1) as pool:
        for named, readings in zip(tensors, files, strict=True):
            digest = partial(digest_of, files=readings, advance=advance)
            digests.append(dict(zip(named, pool.map(digest, named.values()), strict=True)))
    return digests


def digest_of(tensor: TensorPlan, files: Files, advance: Advance) -> str:
    """SHA-256 of a tensor's bytes."""
    digest = hashlib.sha256()
    for chunk in render(tensor, files, compute):
        digest.update(chunk)
        advance(len(chunk))
    return digest.hexdigest()


def model_digest(tensors: Tensors, digests: Mapping[str, str]) -> str:
    """One digest of all tensors, as `Comparison` describes it."""
    lines = (f"{name} {tensor.dtype} {list(tensor.shape)} {digests[name]}\n" for name, tensor in tensors.items())
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def config_differences(first: Checkpoint, second: Checkpoint) -> Iterator[Difference]:
    """The fields of the family's config in which the two differ."""
    if first.published.family is not second.published.family:
        names = [side.published.family.architecture for side in (first, second)]
        yield Difference("config.architectures", names[0], names[1], "is another family")
    sides = [side.model_fields() for side in (first, second)]
    for name in sorted(sides[0].keys() | sides[1].keys()):
        values = [side.get(name) for side in sides]
        if values[0] != values[1]:
            yield Difference(f"config.{name}", repr(values[0]), repr(values[1]), "is another value")


def quantisation_differences(first: Checkpoint, second: Checkpoint) -> Iterator[Difference]:
    """What ModelOpt's files say differently, but for who wrote them."""
    said = [read_hf_quant_config(side.folder) for side in (first, second)]
    mapped = [
        None if members is None else without(side.modules_in(members, "modelopt"), "producer")
        for side, members in zip((first, second), said, strict=True)
    ]
    yield from value_differences("hf_quant_config", *mapped)


def value_differences(name: str, first: Any, second: Any) -> Iterator[Difference]:
    """The members, however deep, in which two values differ."""
    if isinstance(first, dict) and isinstance(second, dict):
        for member in sorted(first.keys() | second.keys()):
            yield from value_differences(f"{name}.{member}", first.get(member), second.get(member))
    elif first != second:
        words = [None if value is None else repr(value) for value in (first, second)]
        yield Difference(name, words[0], words[1], "is another value")


def missing_tensors(first: Tensors, second: Tensors) -> Iterator[Difference]:
    """The tensors that only one of the two has."""
    for name in sorted(first.keys() ^ second.keys()):
        places = [place_of(side[name], name) if name in side else None for side in (first, second)]
        yield Difference(name, places[0], places[1], "is in one of them only")


def place_of(tensor: TensorPlan, name: str) -> str:
    """Where a tensor lies, and what it is called there if that is not `name`."""
    published = tensor.pieces[0].tensor
    return f"in {tensor.file}" if published == name else f"{published!r} in {tensor.file}"


def changed_tensors(tensors: list[Tensors], digests: list[dict[str, str]], files: list[Files]) -> Iterator[Difference]:
    """The tensors that both have and that are not the same."""
    for name in (name for name in tensors[0] if name in tensors[1]):
        first, second = (
            (named[name].dtype, named[name].shape, digest[named[name].name])
            for named, digest in zip(tensors, digests, strict=True)
        )
        if first != second:
            yield tensor_difference(name, tensors, files)


def tensor_difference(name: str, tensors: list[Tensors], files: list[Files]) -> Difference:
    """What differs in a tensor that both have."""
    first, second = (named[name] for named in tensors)
    places = place_of(first, name), place_of(second, name)
    if (first.dtype, first.shape) != (second.dtype, second.shape):
        words = (f"{tensor.dtype} {list(tensor.shape)}" for tensor in (first, second))
        return Difference(name, *places, " against ".join(words))
    at = first_difference(
        *(render(side[name], readings, compute) for side, readings in zip(tensors, files, strict=True))
    )
    element = element_at(at * 8 // DTYPE_BITS[first.dtype], first.shape)
    return Difference(name, *places, f"differs from byte {at:,} on, element {element}")


def first_difference(first: Iterator[memoryview], second: Iterator[memoryview]) -> int:
    """The first byte in which two sequences of equally large chunks differ."""
    position = 0
    for one, other in zip(first, second, strict=True):
        if one != other:
            return position + next(at for at, (a, b) in enumerate(zip(one, other, strict=True)) if a != b)
        position += len(one)
    raise CheckpointError("a tensor changed while it was read")


def element_at(index: int, shape: tuple[int, ...]) -> list[int]:
    """The place in each dimension of an element of which there are so many before."""
    place = []
    for size in reversed(shape):
        index, at = divmod(index, size)
        place.append(at)
    return place[::-1]
