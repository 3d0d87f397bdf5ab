"""
Headers of safetensors files.

A file is 8 bytes with the header's length (little-endian), the header (JSON: name -> dtype, shape, data_offsets), and
the data. Offsets count from the start of the data; the tensors cover it without gap or overlap.
"""

import json
import math
import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import CheckpointError, refuse
from .json_objects import parse_object


LENGTH = struct.Struct("<Q")
MAX_HEADER_BYTES = 100_000_000  # the limit of the safetensors library
ALIGNMENT = 8
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
    """What a file holds: its tensors by name, in the order of their bytes, and where in the file the data starts."""

    tensors: Mapping[str, TensorEntry]
    metadata: Mapping[str, str]
    data_start: int
    file_size: int


def read_header(path: Path, file_name: str) -> Header:
    """
    Read and check the header of a safetensors file. Of the data only the size is looked at.

    Args:
        path: The file.
        file_name: What messages call it.

    Raises:
        CheckpointError: names everything that is wrong with the header.
    """
    try:
        file_size = path.stat().st_size
        with path.open("rb") as file:
            content = read_json_bytes(file.read(LENGTH.size), file_size, file_name) and file.read(header_length(path))
    except OSError as error:
        raise CheckpointError(f"{file_name}: cannot be read: {error.strerror}") from error
    raise NotImplementedError
