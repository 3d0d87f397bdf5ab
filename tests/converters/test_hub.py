"""Checkpoints named by their id on the hub. What downloads is stood in for: the tests run without a network."""

from pathlib import Path

import published
import pytest
from huggingface_hub.errors import LocalEntryNotFoundError

from transformers_heterogeneous.converters import CheckpointError, convert, verify


@pytest.fixture
def downloads(tmp_path, monkeypatch) -> list[dict]:
    """A cache with one repository, as the hub lays it out; the calls that asked for it."""
    calls: list[dict] = []
    repository = tmp_path / "cache/models--nvidia--Tiny"
    published.write_checkpoint(repository / "snapshots/abc")
    (repository / "snapshots/abc/README.md").write_text("card")
    (repository / "blobs").mkdir()
    for number, path in enumerate(sorted((repository / "snapshots/abc").iterdir())):
        path.rename(repository / "blobs" / str(number))
        path.symlink_to(f"../../blobs/{number}")

    def download(repo_id: str, **options: object) -> str:
        calls.append({"repo_id": repo_id, **options})
        if repo_id != "nvidia/Tiny":
            raise LocalEntryNotFoundError("Cannot find an appropriate cached snapshot folder")
        return str(repository / "snapshots/abc")

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    monkeypatch.chdir(tmp_path)
    return calls


def test_repository_is_downloaded_without_what_stays_behind(downloads, tmp_path):
    report = convert("nvidia/Tiny", tmp_path / "converted", revision="v1")
    assert downloads[0]["repo_id"] == "nvidia/Tiny" and downloads[0]["revision"] == "v1"
    ignored = downloads[0]["ignore_patterns"]
    assert {"*.py", "*.bin", "*.gguf"} <= set(ignored) and "*.safetensors" not in ignored
    assert report.num_tensors == len(published.tensors_of(published.LAYERS))
    assert not [path for path in (tmp_path / "converted").iterdir() if path.is_symlink()]
    assert "from `nvidia/Tiny`" in (tmp_path / "converted/README.md").read_text()
    assert verify("nvidia/Tiny", tmp_path / "converted").same


def test_folder_of_that_name_comes_first(downloads, tmp_path):
    published.write_checkpoint(tmp_path / "nvidia/Tiny")
    convert("nvidia/Tiny", tmp_path / "converted")
    assert not downloads
    with pytest.raises(CheckpointError, match="has no revision 'main'"):
        convert("nvidia/Tiny", tmp_path / "again", revision="main")


@pytest.mark.parametrize("name", ["nowhere", "a/b/c", "../x", "/etc/x", "~x/y"])
def test_paths_are_no_repositories(downloads, tmp_path, name):
    with pytest.raises(CheckpointError, match="no such file or folder"):
        convert(name, tmp_path / "converted")
    assert not downloads


def test_repository_that_cannot_be_had(downloads, tmp_path):
    with pytest.raises(CheckpointError, match=r"org/missing: no such folder here[\s\S]*cached snapshot"):
        convert(Path("org/missing"), tmp_path / "converted")
    assert not (tmp_path / "converted").exists()
