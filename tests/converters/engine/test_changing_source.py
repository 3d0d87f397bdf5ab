"""A source that changes while it is read: the run says which files, and keeps nothing."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from transformers_heterogeneous.converters import CheckpointError, convert, verification, verify
from transformers_heterogeneous.converters.engine import writing

from ..published import read_tensors, write_checkpoint
from ..toy_family import ours, random_tensors, write_toy


pytestmark = pytest.mark.usefixtures("toy")
FIRST, SECOND = (f"model-0000{number}-of-00002.safetensors" for number in (1, 2))


@pytest.fixture
def source(tmp_path) -> Path:
    write_toy(tmp_path / "published", random_tensors())
    return tmp_path / "published"


@pytest.fixture
def other(tmp_path) -> Path:
    """The same names and shapes, other numbers, in other places."""
    tensors = {name: -tensor for name, tensor in reversed(random_tensors().items())}
    write_toy(tmp_path / "other", tensors)
    return tmp_path / "other"


def renamed_over(path: Path, other: Path) -> None:
    shutil.copyfile(other, path.with_suffix(".new"))
    os.replace(path.with_suffix(".new"), path)


def renamed_over_with_its_time(path: Path, other: Path) -> None:
    """As `rsync --times` and `cp --preserve` do."""
    status = path.stat()
    renamed_over(path, other)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def written_over(path: Path, other: Path) -> None:
    path.write_bytes(other.read_bytes())
    os.utime(path, ns=(1, 1))  # another time, however coarse the filesystem's clock is


def removed(path: Path, other: Path) -> None:
    path.unlink()


def appended_to(path: Path, other: Path) -> None:
    with path.open("ab") as file:
        file.write(b"more")


CHANGES: dict[Callable[[Path, Path], None], str] = {
    renamed_over: "was replaced by another file",
    renamed_over_with_its_time: "was replaced by another file",
    written_over: "was written to|has .* bytes, and had",
    removed: "cannot be found any more",
    appended_to: "has .* bytes, and had",
}
every_change = pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)


def change_after_first(monkeypatch: pytest.MonkeyPatch, change: Callable[[], None]) -> None:
    """Let something happen when the first file is written."""
    really, calls = writing.write_file, []

    def spy(*arguments):
        done = really(*arguments)
        if not calls:
            change()
        calls.append(arguments)
        return done

    monkeypatch.setattr(writing, "write_file", spy)


@every_change
@pytest.mark.parametrize("name", [FIRST, SECOND])
@pytest.mark.parametrize("experts", ["keep", "stacked"])
def test_shard_that_changes_while_it_is_converted(change, name, experts, source, other, tmp_path, monkeypatch):
    change_after_first(monkeypatch, lambda: change(source / name, other / name))
    with pytest.raises(CheckpointError, match=CHANGES[change]) as caught:
        convert(source, tmp_path / "converted", jobs=1, experts=experts)
    assert f"{name!r}" in str(caught.value) and str(source) in str(caught.value)
    assert ({FIRST, SECOND} - {name}).pop() not in str(caught.value)
    assert sorted(os.listdir(tmp_path)) == ["other", "published"]


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json"])
def test_file_beside_the_weights_that_changes(name, source, tmp_path, monkeypatch):
    (source / "tokenizer.json").write_text("{}")
    change_after_first(monkeypatch, lambda: (source / name).write_text('{"model_type": "other"}'))
    with pytest.raises(CheckpointError, match=name):
        convert(source, tmp_path / "converted", jobs=1)
    assert os.listdir(tmp_path) == ["published"]


def test_between_the_plan_and_the_first_byte(source, other, tmp_path, monkeypatch):
    def replaced(*arguments):
        renamed_over(source / FIRST, other / FIRST)

    monkeypatch.setattr("transformers_heterogeneous.converters.conversion.check_target", replaced)
    with pytest.raises(CheckpointError, match=FIRST):
        convert(source, tmp_path / "converted")
    assert sorted(os.listdir(tmp_path)) == ["other", "published"]


def test_linked_shard_that_is_replaced(tmp_path, monkeypatch):
    tensors = write_checkpoint(tmp_path / "llama")
    write_checkpoint(tmp_path / "other", tensors={name: -tensor for name, tensor in tensors.items()})
    change_after_first(monkeypatch, lambda: renamed_over(tmp_path / "llama" / SECOND, tmp_path / "other" / SECOND))
    with pytest.raises(CheckpointError, match=SECOND):
        convert(tmp_path / "llama", tmp_path / "converted", link="hardlink", jobs=1)
    assert sorted(os.listdir(tmp_path)) == ["llama", "other"]


def test_what_is_read_is_what_was_planned(source, other, tmp_path, monkeypatch):
    """A file that loses its name and gets it back was read all the while."""
    really = writing.put_together

    def swapped(*arguments):
        os.rename(source / FIRST, tmp_path / "kept")
        shutil.copyfile(other / FIRST, source / FIRST)
        done = really(*arguments)
        os.replace(tmp_path / "kept", source / FIRST)
        return done

    monkeypatch.setattr(writing, "put_together", swapped)
    convert(source, tmp_path / "converted", jobs=1)
    found, expected = read_tensors(tmp_path / "converted"), ours(random_tensors())
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())


@every_change
def test_shard_that_changes_while_it_is_compared(change, source, other, tmp_path, monkeypatch):
    convert(source, tmp_path / "converted")
    really, calls = verification.digest_of, []

    def spy(*arguments, **named):
        digest = really(*arguments, **named)
        if not calls:
            change(source / SECOND, other / SECOND)
        calls.append(digest)
        return digest

    monkeypatch.setattr(verification, "digest_of", spy)
    with pytest.raises(CheckpointError, match=f"{SECOND}' ({CHANGES[change]})"):
        verify(source, tmp_path / "converted", jobs=1)
