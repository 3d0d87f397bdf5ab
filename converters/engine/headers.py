"""
Headers of safetensors files.

A file is 8 bytes with the header's length (little-endian), the header (JSON: name -> dtype, shape, data_offsets), and
the data. Offsets count from the start of the data; the tensors cover it without gap or overlap.
"""

import json
import math
import os
import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import CheckpointError, refuse
from .files import open_regular
from .fingerprints import Fingerprint, fingerprint_of
from .json_objects import parse_object


Shape = tuple[int, ...]
LENGTH = struct.Struct("<Q")
MAX_HEADER_BYTES = 100_000_000  # the limit of the safetensors library
ALIGNMENT = 8
# Bytes of a filesystem's block: what two files can share
BLOCK = 4096
# What torch and numpy can hold
MAX_DIMENSIONS = 64
MAX_SIZE = 2**63 - 1
METADATA = "__metadata__"
# The members of a tensor's entry
ENTRY = {"dtype", "shape", "data_offsets"}
DTYPE_BITS = {
    "BOOL": 8,
    "F4": 4,
    "F6_E2M3": 6,
    "F6_E3M2": 6,
    "U8": 8,
    "I8": 8,
    "F8_E5M2": 8,
    "F8_E4M3": 8,
    "F8_E8M0": 8,
    "F8_E5M2FNUZ": 8,
    "F8_E4M3FNUZ": 8,
    "I16": 16,
    "U16": 16,
    "F16": 16,
    "BF16": 16,
    "I32": 32,
    "U32": 32,
    "F32": 32,
    "C64": 64,
    "F64": 64,
    "I64": 64,
    "U64": 64,
}


def num_bytes_of(dtype: str, shape: Iterable[int]) -> int:
    """Bytes of a tensor; elements of less than a byte are packed."""
    return math.prod(shape) * DTYPE_BITS[dtype] // 8


@dataclass(frozen=True)
class TensorEntry:
    """A tensor of a file: its bytes are `start` to `end` of the file's data."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int

    @property
    def num_bytes(self) -> int:
        return self.end - self.start

    @property
    def num_elements(self) -> int:
        return math.prod(self.shape)


@dataclass(frozen=True)
class Header:
    """
    What a file holds: its tensors by name in the order of their bytes, the offset of its data (bytes), and what the file
    was when it was read.
    """

    tensors: Mapping[str, TensorEntry]
    metadata: Mapping[str, str]
    data_start: int
    fingerprint: Fingerprint

    @property
    def file_size(self) -> int:
        return self.fingerprint.num_bytes


def read_header(path: Path, file_name: str, folder: Path | None = None) -> Header:
    """
    Read and check the header of a safetensors file. Of the data only the size is looked at.

    Args:
        path: The file.
        file_name: What messages call it.
        folder: The checkpoint that it has to belong to.

    Raises:
        CheckpointError: names everything that is wrong with the header.
    """
    try:
        with open_regular(path, folder, file_name) as file:
            fingerprint = fingerprint_of(os.fstat(file.fileno()))
            length = header_length(file.read(LENGTH.size), fingerprint.num_bytes, file_name)
            content = file.read(length)
    except OSError as error:
        raise CheckpointError(f"{file_name}: cannot be read: {error.strerror}") from error
    members = parse_object(content, f"{file_name}, header")
    metadata = members.pop(METADATA, {})
    problems = [*metadata_problems(metadata), *entry_problems(members)]
    refuse(f"{file_name}: the header is not one of safetensors", problems)
    entries = sorted(map(parse_entry, members.items()), key=lambda entry: (entry.start, entry.end))
    data_start = LENGTH.size + length
    refuse(
        f"{file_name}: the header and the data disagree", layout_problems(entries, fingerprint.num_bytes - data_start)
    )
    return Header({entry.name: entry for entry in entries}, metadata, data_start, fingerprint)


def header_length(prefix: bytes, file_size: int, file_name: str) -> int:
    """The length of the header in bytes, from the first 8 of the file."""
    if len(prefix) < LENGTH.size:
        raise CheckpointError(
            f"{file_name}: has {file_size} bytes; a safetensors file begins with the 8-byte length of its header"
        )
    length = int(LENGTH.unpack(prefix)[0])
    allowed = min(file_size - LENGTH.size, MAX_HEADER_BYTES)
    if length > allowed:
        raise CheckpointError(
            f"{file_name}: its header claims {length} bytes, at most {allowed} are possible: "
            "the file is truncated or not a safetensors file"
        )
    return length


def metadata_problems(metadata: object) -> Iterator[str]:
    """What is wrong with `__metadata__`, which maps strings to strings."""
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        yield f"{METADATA} is {shortened(metadata)}: an object with strings is needed"


def entry_problems(members: dict[str, Any]) -> Iterator[str]:
    """What is wrong with the entries of the tensors, each looked at alone."""
    for name, entry in members.items():
        tensor = shortened(name)
        if not isinstance(entry, dict) or set(entry) != ENTRY:
            yield f"{tensor} is {shortened(entry)}: an object with {sorted(ENTRY)} is needed"
        elif not isinstance(entry["dtype"], str) or entry["dtype"] not in DTYPE_BITS:
            yield f"{tensor} has dtype {shortened(entry['dtype'])}, known are {sorted(DTYPE_BITS)}"
        elif not is_sizes(entry["shape"]):
            yield f"{tensor} has shape {shortened(entry['shape'])}: a list of integers from 0 on is needed"
        elif not is_sizes(entry["data_offsets"]) or len(entry["data_offsets"]) != 2:
            yield f"{tensor} has data_offsets {shortened(entry['data_offsets'])}: two integers from 0 on are needed"


def is_sizes(value: object) -> bool:
    """Whether it is a list of integers that are not negative (`true` is one to Python, not to JSON), few and no giants."""
    is_short = isinstance(value, list) and len(value) <= MAX_DIMENSIONS
    return is_short and all(type(size) is int and 0 <= size <= MAX_SIZE for size in value)  # type: ignore[attr-defined]


def shortened(value: object) -> str:
    """A value for a message, which may be a whole file long."""
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:200]}..."


def parse_entry(member: tuple[str, dict[str, Any]]) -> TensorEntry:
    name, entry = member
    return TensorEntry(name, entry["dtype"], tuple(entry["shape"]), *entry["data_offsets"])


def layout_problems(entries: Iterable[TensorEntry], data_size: int) -> Iterator[str]:
    """Where tensors, in the order of their bytes, do not cover the `data_size` bytes of data one after another."""
    position = 0
    for entry in entries:
        offsets = f"{entry.name!r} has data_offsets [{entry.start}, {entry.end}]"
        num_bits = entry.num_elements * DTYPE_BITS[entry.dtype]
        if entry.start != position:
            kind = "overlaps the tensor before it" if entry.start < position else "leaves a gap before it"
            yield f"{offsets}, which {kind}: {position} is needed as the first"
        if num_bits % 8 or entry.num_bytes * 8 != num_bits:
            needed = num_bits / 8
            yield f"{offsets}, {entry.num_bytes} bytes; {entry.dtype} {list(entry.shape)} takes {needed:.10g}"
        if entry.end > data_size:
            yield f"{offsets}, outside the {data_size} bytes of data that the file holds: is it truncated?"
        position = max(position, entry.end)
    if position < data_size:
        yield f"the file holds {data_size} bytes of data, its tensors cover {position}"


def make_header(entries: Iterable[TensorEntry], metadata: Mapping[str, str], beside: int = 0) -> bytes:
    """
    The first bytes of a file that holds these tensors in this order: length and header, padded with spaces so that the
    data begins at a multiple of 8.

    Args:
        beside: Offset, in the file that the data comes from, of its first byte. Where it is a multiple of 8, the data
            lies as far into a filesystem's block as it does there, so that the two files can share their blocks.
    """
    members: dict[str, Any] = {METADATA: dict(metadata)} if metadata else {}
    position = 0
    for entry in entries:
        offsets = [position, position + entry.num_bytes]
        members[entry.name] = {"dtype": entry.dtype, "shape": list(entry.shape), "data_offsets": offsets}
        position += entry.num_bytes
    header = json.dumps(members, separators=(",", ":")).encode()
    padding = (beside - LENGTH.size - len(header)) % BLOCK if beside % ALIGNMENT == 0 else -len(header) % ALIGNMENT
    header += b" " * padding
    return LENGTH.pack(len(header)) + header
