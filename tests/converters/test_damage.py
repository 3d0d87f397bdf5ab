"""Checkpoints damaged byte by byte: one clear error, or the right output; never anything else, and nothing left behind."""

import json
import os
import shutil
import struct
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transformers_heterogeneous.converters import CheckpointError, convert
from transformers_heterogeneous.converters.engine.headers import read_header
from transformers_heterogeneous.converters.engine.json_objects import MAX_JSON_BYTES, read_object

from .published import read_tensors
from .toy_family import random_tensors, write_toy


FIRST = "model-00001-of-00002.safetensors"
FILES = ("config.json", "model.safetensors.index.json", FIRST)
EDIT = st.tuples(
    st.sampled_from(["replace", "insert", "delete", "cut", "double"]),
    st.floats(0, 1, exclude_max=True),
    st.sampled_from(list(b'0123456789[]{}",:.-e \0\xff/\\')),
)


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("damage") / "whole"
    quantisation = {"quant_method": "modelopt", "ignore": ["backbone.embeddings"]}
    write_toy(folder, random_tensors(), {"quantization_config": quantisation})
    return folder


def damaged(content: bytes, edits: list[tuple[str, float, int]], size: int) -> bytes:
    """Edits of the first `size` bytes."""
    for kind, where, byte in edits:
        at = int(where * size)
        before, after = content[:at], content[at:]
        content = {
            "replace": before + bytes([byte]) + after[1:],
            "insert": before + bytes([byte]) + after,
            "delete": before + after[1:],
            "cut": before,
            "double": before + after[:50] + after,
        }[kind]
    return content


def end_of_header(path: Path) -> int:
    return read_header(path, path.name).data_start if path.suffix == ".safetensors" else path.stat().st_size


def refused_about(word: str, source: Path, target: Path) -> None:
    """A dry run; what is refused is refused for this."""
    try:
        convert(source, target, dry_run=True)
    except CheckpointError as error:
        assert word in str(error)
        raise


@pytest.mark.usefixtures("toy")
class TestDamage:
    @settings(max_examples=200, deadline=None)
    @given(name=st.sampled_from(FILES), edits=st.lists(EDIT, min_size=1, max_size=3))
    def test_is_refused_or_harmless(self, whole, attempted, name, edits):
        folder, target = whole.parent / "damaged", whole.parent / "target"
        shutil.copytree(whole, folder)
        content = damaged((whole / name).read_bytes(), edits, end_of_header(whole / name))
        (folder / name).write_bytes(content)
        try:
            with attempted("damaged checkpoints", CheckpointError):
                convert(folder, target)
                assert len(read_tensors(target)) == len(random_tensors())
                shutil.rmtree(target)
            assert not target.exists()
        finally:
            shutil.rmtree(folder)
            shutil.rmtree(target, ignore_errors=True)
        assert os.listdir(whole.parent) == ["whole"]

    def test_is_done_to_a_checkpoint_that_converts(self, whole, tmp_path):
        assert convert(whole, tmp_path / "target").format == "toy_published"

    @settings(max_examples=100, deadline=None)
    @given(
        value=st.recursive(
            st.none() | st.booleans() | st.integers(-3, 9) | st.text(max_size=3),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
            max_leaves=5,
        ),
        method=st.sampled_from(["modelopt", "mxfp4", "gptq"]),
    )
    def test_of_the_quantisation(self, whole, attempted, value, method):
        for quantisation in (value, {"quant_method": method, "ignore": value}, {"quant_method": value}):
            members = {"model_type": "toy_published", "quantization_config": quantisation}
            folder = whole.parent / "quantised"
            shutil.copytree(whole, folder)
            (folder / "config.json").write_text(json.dumps(members))
            try:
                with attempted("damaged configs", CheckpointError):
                    refused_about("quant_method", folder, whole.parent / "target")
            finally:
                shutil.rmtree(folder)


def file_with(header: bytes, length: int | None = None) -> bytes:
    return struct.pack("<Q", len(header) if length is None else length) + header


PATHOLOGICAL = {
    "millions of dimensions": b'{"w":{"dtype":"U8","shape":[' + b"9," * 10**6 + b'9],"data_offsets":[0,1]}}',
    "giant sizes": b'{"w":{"dtype":"U8","shape":[%d],"data_offsets":[0,1]}}' % 2**64,
    "a number of many digits": b'{"w":{"dtype":"U8","shape":[' + b"9" * 10**5 + b'],"data_offsets":[0,1]}}',
    "many bad tensors": b"{" + b",".join(b'"%d":0' % at for at in range(10**5)) + b"}",
    "a very long name": b'{"' + b"x" * 10**6 + b'":0}',
}


@pytest.mark.parametrize("header", PATHOLOGICAL.values(), ids=PATHOLOGICAL.keys())
def test_pathological_header_is_refused_in_a_few_words(tmp_path, header):
    (tmp_path / "x.safetensors").write_bytes(file_with(header) + b"\0")
    with pytest.raises(CheckpointError) as caught:
        read_header(tmp_path / "x.safetensors", "x.safetensors")
    assert len(str(caught.value)) < 100_000


def test_json_of_a_gigabyte_is_not_read(tmp_path):
    with (tmp_path / "config.json").open("wb") as file:
        file.truncate(2**33)
    with pytest.raises(CheckpointError, match=f"{MAX_JSON_BYTES:,}"):
        read_object(tmp_path / "config.json")
