"""Sharing of blocks, on real filesystems that can, where the machine can make one."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from transformers_heterogeneous.converters import CheckpointError, convert
from transformers_heterogeneous.converters.engine.transfer import Move, joined, whole_blocks

from .. import published
from ..published import assert_same_tensors, read_tensors, write_checkpoint
from ..toy_family import ours, random_tensors, write_toy


MAKERS = {"xfs": ["mkfs.xfs", "-q", "-m", "reflink=1"], "btrfs": ["mkfs.btrfs", "-q"]}
IMAGE_BYTES = 400 * 2**20
LARGE_BYTES = 32 * 2**20


@pytest.fixture(params=MAKERS, scope="module")
def disk(request, tmp_path_factory) -> Iterator[Path]:
    """A filesystem in a file, mounted."""
    maker = MAKERS[request.param]
    if shutil.which(maker[0]) is None:
        pytest.skip(f"{maker[0]} is not installed")
    if os.geteuid() != 0:
        pytest.skip("only root can mount")
    folder = tmp_path_factory.mktemp(request.param)
    with (folder / "image").open("wb") as file:
        file.truncate(IMAGE_BYTES)
    (folder / "disk").mkdir()
    for command in ([*maker, folder / "image"], ["mount", "-o", "loop", folder / "image", folder / "disk"]):
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"no {request.param} here: {done.stderr.strip()}")
    yield folder / "disk"
    subprocess.run(["umount", folder / "disk"], check=True)


@pytest.fixture
def room(disk) -> Iterator[Path]:
    """An empty folder of that filesystem."""
    folder = disk / "room"
    folder.mkdir()
    yield folder
    shutil.rmtree(folder)


def num_free(folder: Path) -> int:
    os.sync()
    return shutil.disk_usage(folder).free


def with_a_large_one(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return tensors | {"mtp.large": torch.randn(LARGE_BYTES // 4, generator=torch.Generator().manual_seed(1))}


@pytest.mark.usefixtures("toy")
class TestRenamed:
    def test_data_is_shared(self, room):
        tensors = with_a_large_one(random_tensors())
        write_toy(room / "published", tensors)
        before = num_free(room)
        planned = convert(room / "published", room / "converted", dry_run=True)
        report = convert(room / "published", room / "converted")
        assert before - num_free(room) < LARGE_BYTES / 4
        assert planned.cost.num_bytes_shared == sum(file.num_shared_bytes for file in report.files) > LARGE_BYTES
        assert planned.cost.num_bytes_written < 10**5
        assert_same_tensors(read_tensors(room / "converted"), ours(tensors))

    def test_writing_to_one_leaves_the_other(self, room):
        tensors = with_a_large_one(random_tensors())
        write_toy(room / "published", tensors)
        convert(room / "published", room / "converted")
        for path in (room / "converted").glob("*.safetensors"):
            with path.open("r+b") as file:
                file.seek(-(2**14), os.SEEK_END)
                file.write(b"\xff" * 2**14)
        assert_same_tensors(read_tensors(room / "published"), tensors)

    def test_more_than_the_disk_holds(self, room):
        """Found out before the first byte, unless the filesystem does not know; what is shared needs no room."""
        tensors = {f"mtp.{number}": torch.full((2**23,), number, dtype=torch.float32) for number in range(6)}
        write_toy(room / "published", random_tensors() | tensors)
        with pytest.raises(CheckpointError, match=r"has .* free|No space left"):
            convert(room / "published", room / "converted", link="copy")
        convert(room / "published", room / "converted")
        assert (room / "converted/config.json").exists()


def test_unchanged_files_are_shared(room):
    tensors = write_checkpoint(room / "published")
    for link in ("auto", "reflink"):
        report = convert(room / "published", room / link, link=link)
        assert {file.how for file in report.files} == {"reflink"}
        assert_same_tensors(read_tensors(room / link), tensors)
        for file in report.files:
            assert (room / link / file.name).read_bytes() == (room / "published" / file.name).read_bytes()


def test_is_refused_where_it_is_not_possible(room, tmp_path):
    """From one filesystem to another."""
    published.write_checkpoint(room / "published")
    for dry_run in (True, False):
        with pytest.raises(CheckpointError, match=r"no reflink is possible[\s\S]*--link copy"):
            convert(room / "published", tmp_path / "converted", link="reflink", dry_run=dry_run)
    assert os.listdir(tmp_path) == []
    assert {file.how for file in convert(room / "published", tmp_path / "converted").files} == {"copy"}


def test_hard_link_is_refused_where_it_is_not_possible(room, tmp_path):
    published.write_checkpoint(room / "published")
    with pytest.raises(CheckpointError, match=r"no hardlink is possible[\s\S]*--link copy"):
        convert(room / "published", tmp_path / "converted", link="hardlink")
    assert os.listdir(tmp_path) == []


MOVES = {
    "in step": (Move("f", 100, 10000, 100 + 8192), (3996, 4096)),
    "from a block's beginning": (Move("f", 4096, 8192, 0), (0, 8192)),
    "out of step": (Move("f", 100, 10000, 108), (0, 0)),
    "less than a block": (Move("f", 0, 4095, 0), (0, 0)),
    "over a border, no whole block": (Move("f", 4000, 4100, 4000), (0, 0)),
}


@pytest.mark.parametrize(("move", "expected"), MOVES.values(), ids=MOVES.keys())
def test_whole_blocks(move, expected):
    assert whole_blocks(move) == expected


def test_neighbours_are_moved_at_once():
    moves = [Move("f", 0, 5, 10), Move("f", 5, 5, 15), Move("g", 10, 5, 20), Move("g", 15, 5, 30)]
    assert list(joined(moves)) == [Move("f", 0, 10, 10), Move("g", 10, 5, 20), Move("g", 15, 5, 30)]
