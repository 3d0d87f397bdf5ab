"""Files that are no files: pipes, devices, folders, links out of the checkpoint. Each is refused by name, none is waited for."""

import json
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from transformers_heterogeneous.converters import CheckpointError, convert, summarise, verify
from transformers_heterogeneous.converters.engine import files as opened
from transformers_heterogeneous.scripts.command.cli import app

from ..published import write_checkpoint


pytestmark = pytest.mark.skipif(os.name != "posix", reason="pipes and devices are files on POSIX systems")
INDEX, SHARD = "model.safetensors.index.json", "model-00002-of-00002.safetensors"
READ = ["config.json", "hf_quant_config.json", INDEX, SHARD]


@pytest.fixture(autouse=True)
def in_time() -> Iterator[None]:
    """What waits for a pipe fails here instead."""

    def late(*arguments: object) -> None:
        raise TimeoutError("something is waited for that never comes")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture
def source(tmp_path) -> Path:
    write_checkpoint(tmp_path / "source")
    return tmp_path / "source"


def replace(path: Path, make: Callable[[Path], object]) -> None:
    path.unlink(missing_ok=True)
    make(path)


def socket(path: Path) -> None:
    os.mknod(path, 0o140644)


KINDS: dict[str, tuple[Callable[[Path], object], str]] = {
    "pipe": (os.mkfifo, "a pipe"),
    "link to a pipe": (lambda path: (os.mkfifo(path.parent / "pipe"), path.symlink_to("pipe")), "a pipe"),
    "endless device": (lambda path: path.symlink_to("/dev/zero"), "a device"),
    "terminal": (lambda path: path.symlink_to("/dev/tty"), "a device"),
    "socket": (socket, "a socket"),
    "folder": (Path.mkdir, "a folder"),
}
every_kind = pytest.mark.parametrize(("make", "words"), KINDS.values(), ids=KINDS.keys())
every_name = pytest.mark.parametrize("name", READ)


@every_kind
@every_name
def test_is_refused_by_name(name, make, words, source, tmp_path):
    replace(source / name, make)
    for attempt in (lambda: convert(source, tmp_path / "ours"), lambda: verify(source, source)):
        with pytest.raises(CheckpointError, match=f"{name}: is {words}, a regular file is needed"):
            attempt()
    assert not (tmp_path / "ours").exists()


@every_kind
def test_only_weights_file(make, words, tmp_path):
    write_checkpoint(tmp_path / "source", file_names=("model.safetensors",))
    replace(tmp_path / "source/model.safetensors", make)
    with pytest.raises(CheckpointError, match=f"model.safetensors: is {words}"):
        convert(tmp_path / "source", tmp_path / "ours")


@every_kind
@pytest.mark.parametrize("to", [None, "nemotron-nas"])
def test_origin(make, words, to, source, tmp_path):
    convert(source, tmp_path / "ours")
    replace(tmp_path / "ours/hetero_origin.json", make)
    with pytest.raises(CheckpointError, match=f"hetero_origin.json: is {words}, a regular file is needed"):
        convert(tmp_path / "ours", tmp_path / "back", to=to)
    assert not (tmp_path / "back").exists()


def test_origin_that_says_nothing(source, tmp_path):
    """Of the past; it is reported as left behind."""
    convert(source, tmp_path / "ours")
    (tmp_path / "ours/hetero_origin.json").write_text("{nonsense")
    assert not convert(tmp_path / "ours", tmp_path / "back", to="nemotron-nas").restored


@every_kind
@pytest.mark.parametrize("named", ["folder", "file"])
def test_inspected_config(named, make, words, source):
    replace(source / "config.json", make)
    path = source if named == "folder" else source / "config.json"
    if path.is_dir() and named == "file":
        pytest.skip("a folder is looked into")
    result = CliRunner().invoke(app, ["inspect", str(path)])
    assert result.exit_code == 2 and f"is {words}" in result.output
    with pytest.raises(CheckpointError, match=f"is {words}"):
        summarise(path)


@pytest.mark.parametrize("name", ["config.json", "hf_quant_config.json", INDEX])
def test_sizes_are_capped(name, source, tmp_path, monkeypatch):
    monkeypatch.setattr("transformers_heterogeneous.converters.engine.json_objects.MAX_JSON_BYTES", 10_000)
    (source / name).write_text(json.dumps({"a": "b" * 10_000}))
    with pytest.raises(CheckpointError, match=f"{name}: has more than the 10,000 bytes"):
        convert(source, tmp_path / "ours")


@every_name
def test_link_out_of_the_checkpoint(name, source, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    if name == "hf_quant_config.json":
        (source / name).write_text("{}")
    (source / name).rename(elsewhere)
    (source / name).symlink_to(elsewhere)
    with pytest.raises(CheckpointError, match=f"{name}: is a link to a file outside the checkpoint: {elsewhere}"):
        convert(source, tmp_path / "ours")
    assert not (tmp_path / "ours").exists()


@every_name
def test_link_inside_the_checkpoint(name, source, tmp_path):
    if name == "hf_quant_config.json":
        (source / name).write_text("{}")
    (source / "inside").mkdir()
    (source / name).rename(source / "inside/file")
    (source / name).symlink_to("inside/file")
    convert(source, tmp_path / "ours")


def test_links_of_a_hub_cache(source, tmp_path):
    snapshot, blobs = tmp_path / "models--a--b/snapshots/1", tmp_path / "models--a--b/blobs"
    snapshot.mkdir(parents=True)
    shutil.copytree(source, blobs)
    for path in blobs.iterdir():
        (snapshot / path.name).symlink_to(path)
    convert(snapshot, tmp_path / "ours")


def test_blobs_are_those_of_the_repository(source, tmp_path):
    """`models/ours/notes.txt -> ../../blobs/key` was taken for a file of the hub's cache."""
    (tmp_path / "blobs").mkdir()
    key = tmp_path / "blobs/key"
    key.write_text("secret")
    folder = tmp_path / "models/ours"
    shutil.copytree(source, folder)
    (folder / "notes.txt").symlink_to("../../blobs/key")
    report = convert(folder, tmp_path / "converted")
    reasons = {left.name: left.reason for left in report.not_carried}
    assert reasons["notes.txt"] == f"a link to a file outside the checkpoint: {key}"
    assert not (tmp_path / "converted/notes.txt").exists()


# Where a checkpoint lies, below a folder -> which of its links to other folders are to its own blobs
OWN = {
    "snapshots/abc": {"blobs/key"},
    "snapshots/abc/inside": {"blobs/key"},
    "models/abc": set(),
    "abc": set(),
    "snapshots": set(),
}


@pytest.mark.parametrize("where", OWN)
def test_links_that_lead_to_own_blobs(where, tmp_path):
    repository = tmp_path / "a/models--org--name"
    folder = repository / where
    folder.mkdir(parents=True)
    places = ["blobs/key", "blobs/deep/key", "blobs2/key", "snapshots/other/key", "../blobs/key", "../../blobs/key"]
    found = set()
    for number, place in enumerate(places):
        target = (repository / place).resolve()
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text("")
        link = folder / f"link{number}"
        link.symlink_to(target)
        if opened.is_own(link, folder.resolve()):
            found.add(place)
    assert found == (OWN[where] if where != "snapshots" else {"snapshots/other/key"})


def test_blobs_that_are_themselves_a_link(tmp_path):
    folder, elsewhere = tmp_path / "repository/snapshots/abc", tmp_path / "elsewhere"
    folder.mkdir(parents=True)
    elsewhere.mkdir()
    (elsewhere / "key").write_text("secret")
    (tmp_path / "repository/blobs").symlink_to(elsewhere)
    (folder / "notes.txt").symlink_to("../../blobs/key")
    assert not opened.is_own(folder / "notes.txt", folder.resolve())


def test_what_becomes_a_pipe_is_not_waited_for(source, monkeypatch):
    """Between the look at it and its opening."""
    check = opened.check_regular

    def late(status: os.stat_result, name: str) -> None:
        check(status, name)
        replace(source / "config.json", os.mkfifo)

    monkeypatch.setattr(opened, "check_regular", late)
    with pytest.raises(CheckpointError, match=r"config\.json: is a pipe"):
        opened.open_regular(source / "config.json")
