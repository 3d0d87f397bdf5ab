"""Headers of safetensors files, held against the safetensors library."""

import json
import struct
from pathlib import Path

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load, save

from transformers_heterogeneous.converters import CheckpointError
from transformers_heterogeneous.converters.engine.headers import make_header, read_header


TENSORS = {
    "a": torch.arange(6, dtype=torch.float32).reshape(2, 3),
    "b": torch.arange(5, dtype=torch.int8),
    "empty": torch.zeros(0, 4, dtype=torch.float16),
    "scalar": torch.tensor(True),
    "é/名": torch.ones(3, dtype=torch.float8_e4m3fn),
}
CONTENT = save(TENSORS, metadata={"format": "pt"})
HEADER_SIZE = struct.unpack("<Q", CONTENT[:8])[0]


def read(folder: Path, content: bytes):
    path = folder / "model.safetensors"
    path.write_bytes(content)
    return read_header(path, path.name)


def file_of(members: dict | str, data: bytes = b"\0" * 8, length: int | None = None) -> bytes:
    header = (members if isinstance(members, str) else json.dumps(members)).encode()
    return struct.pack("<Q", len(header) if length is None else length) + header + data


def entry(dtype: object = "F32", shape: object = (2,), data_offsets: object = (0, 8)) -> dict:
    return {"dtype": dtype, "shape": shape, "data_offsets": data_offsets}


def test_reads_what_the_library_wrote(tmp_path):
    header = read(tmp_path, CONTENT)
    assert header.tensors.keys() == TENSORS.keys()
    assert {name: list(found.shape) for name, found in header.tensors.items()} == {
        name: list(tensor.shape) for name, tensor in TENSORS.items()
    }
    assert header.metadata == {"format": "pt"}
    for name, found in header.tensors.items():
        start = header.data_start + found.start
        expected = TENSORS[name].reshape(-1).view(torch.uint8).numpy().tobytes()
        assert CONTENT[start : start + found.num_bytes] == expected


def test_the_library_reads_what_is_written(tmp_path):
    header = read(tmp_path, CONTENT)
    kept = [found for name, found in header.tensors.items() if name != "b"]
    first = make_header(kept, header.metadata)
    assert len(first) % 8 == 0
    data = CONTENT[header.data_start :]
    loaded = load(first + b"".join(data[found.start : found.end] for found in kept))
    assert loaded.keys() == TENSORS.keys() - {"b"}
    assert all(torch.equal(loaded[name], TENSORS[name]) for name in loaded)


BAD = {
    "empty file": (b"", ["0 bytes"]),
    "shorter than a length": (b"\1\2\3", ["3 bytes"]),
    "header longer than the file": (file_of({}, length=10**6), ["1000000", "truncated"]),
    "header longer than allowed": (b"\xff" * 8 + b"{}", ["18446744073709551615"]),
    "not JSON": (file_of("{nonsense"), ["not JSON"]),
    "not UTF-8": (struct.pack("<Q", 2) + b"\xff\xfe", ["not JSON"]),
    "too deep": (file_of("[" * 100_000), ["not JSON"]),
    "not an object": (file_of("[1]"), ["list"]),
    "a name twice": (file_of('{"w": 1, "w": 2}'), ["'w'", "twice"]),
    "metadata that is no text": (file_of({"__metadata__": {"a": 1}}), ["__metadata__", "strings"]),
    "entry that is no object": (file_of({"w": 3}), ["'w'", "3"]),
    "entry without offsets": (file_of({"w": {"dtype": "F32", "shape": [2]}}), ["'w'", "data_offsets"]),
    "unknown dtype": (file_of({"w": entry("F31")}), ["'w'", "F31", "BF16"]),
    "dtype that is no text": (file_of({"w": entry(["F32"])}), ["'w'", "dtype"]),
    "negative size": (file_of({"w": entry(shape=[-2])}), ["'w'", "[-2]"]),
    "size that is true": (file_of({"w": entry(shape=[True, 2])}), ["'w'", "True"]),
    "three offsets": (file_of({"w": entry(data_offsets=[0, 4, 8])}), ["'w'", "[0, 4, 8]"]),
    "offsets outside": (file_of({"w": entry(shape=[4], data_offsets=[0, 16])}), ["'w'", "outside the 8 bytes"]),
    "backwards": (file_of({"w": entry(data_offsets=[8, 0])}), ["'w'", "[8, 0]"]),
    "overlap": (file_of({"v": entry(), "w": entry(data_offsets=[4, 12])}, b"\0" * 12), ["'w'", "overlaps"]),
    "gap": (file_of({"w": entry(data_offsets=[4, 12])}, b"\0" * 12), ["'w'", "gap"]),
    "bytes that no tensor covers": (file_of({"w": entry()}, b"\0" * 12), ["12 bytes", "cover 8"]),
    "wrong size for the dtype": (file_of({"w": entry("BF16")}), ["'w'", "8 bytes", "takes 4"]),
    "half a byte": (file_of({"w": entry("F4", [3], [0, 2])}, b"\0\0"), ["'w'", "takes 1.5"]),
}


@pytest.mark.parametrize(("content", "words"), BAD.values(), ids=BAD.keys())
def test_bad_header_is_refused(tmp_path, content, words):
    with pytest.raises(CheckpointError) as caught:
        read(tmp_path, content)
    assert all(word in str(caught.value) for word in ["model.safetensors", *words])


def test_all_problems_of_a_header_at_once(tmp_path):
    with pytest.raises(CheckpointError) as caught:
        read(tmp_path, file_of({"v": entry("F31"), "w": entry(shape=None)}))
    assert "'v'" in str(caught.value) and "'w'" in str(caught.value)


def read_as_the_library(folder: Path, content: bytes) -> None:
    """A `CheckpointError`, or exactly what the safetensors library finds."""
    header = read(folder, content)
    with safe_open(folder / "model.safetensors", framework="pt") as file:
        slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
        assert {name: (found.dtype, list(found.shape)) for name, found in header.tensors.items()} == {
            name: (found.get_dtype(), found.get_shape()) for name, found in slices.items()
        }


def has_negative_zero(content: bytes) -> bool:
    """An integer to Python's json, and a float to the library's."""
    return b"-0" in content[8 : 8 + HEADER_SIZE + 64]


EDIT = st.tuples(
    st.sampled_from(["replace", "insert", "delete", "cut"]),
    st.integers(0, 8 + HEADER_SIZE),
    st.sampled_from(list(b'0123456789[]{}",:.-e \0\xff') + list(range(256))),
)


def edited(content: bytes, edits: list[tuple[str, int, int]]) -> bytes:
    for kind, at, byte in edits:
        after = {"replace": content[at + 1 :], "insert": content[at:], "delete": content[at + 1 :], "cut": b""}[kind]
        content = content[:at] + (bytes([byte]) if kind in ("replace", "insert") else b"") + after
    return content


@settings(max_examples=300, deadline=None)
@given(edits=st.lists(EDIT, min_size=1, max_size=3))
def test_damaged_header_is_refused_or_read_right(tmp_path_factory, attempted, edits):
    content = edited(CONTENT, edits)
    assume(not has_negative_zero(content))
    with attempted("damaged headers", CheckpointError):
        read_as_the_library(tmp_path_factory.getbasetemp(), content)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 2**70) | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=4,
)
MEMBER = st.fixed_dictionaries(
    {
        "dtype": st.sampled_from(["F32", "F4", "BOOL", "BF16"]) | JSON,
        "shape": st.lists(st.integers(0, 4), max_size=3) | JSON,
        "data_offsets": st.lists(st.integers(0, 16), min_size=2, max_size=2) | JSON,
    }
)


@settings(max_examples=300, deadline=None)
@given(members=st.dictionaries(st.text(max_size=3), MEMBER | JSON, max_size=3), num_bytes=st.integers(0, 16))
def test_lying_header_is_refused_or_read_right(tmp_path_factory, attempted, members, num_bytes):
    content = file_of(members, b"\0" * num_bytes)
    assume(not has_negative_zero(content))
    with attempted("damaged headers", CheckpointError):
        read_as_the_library(tmp_path_factory.getbasetemp(), content)
