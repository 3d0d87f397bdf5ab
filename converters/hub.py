"""
Checkpoints on the Hugging Face hub: downloaded into its cache, or only outlined, by config and headers without the data.
"""

import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from .auxiliary_files import LEFT_BEHIND, OTHER_WEIGHTS
from .engine.errors import CheckpointError
from .engine.headers import LENGTH, header_length
from .engine.weights import read_weights


REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
# What a conversion leaves behind is not downloaded
IGNORED = [pattern for pattern, reason in LEFT_BEHIND.items() if reason != OTHER_WEIGHTS]
WEIGHTS = "*.safetensors"
READ_AHEAD = 2**17  # bytes: most headers are shorter
NUM_REQUESTS = 8  # at a time


@dataclass(frozen=True)
class RemoteOutline:
    """
    A checkpoint on the hub before its weights are downloaded.

    Attributes:
        folder: All of it but the data of weights that are not in the cache: their files have headers and full sizes, and
            hold nothing else.
        cache: The snapshot that the download completes.
        num_bytes_missing: What it brings.
        ignored: Patterns of what it leaves out: remote code and the like, and weights that are not this checkpoint's,
            such as another copy in another layout.
    """

    folder: Path
    cache: Path
    num_bytes_missing: int
    ignored: list[str]


def is_on_hub(source: str | Path) -> bool:
    """Whether a checkpoint's name is that of a repository, `org/name`; a folder of this name comes first."""
    path = Path(source)
    return not path.exists() and REPOSITORY.fullmatch(path.as_posix()) is not None


def local_folder(source: str | Path, revision: str | None = None) -> Path:
    """
    The folder of a checkpoint: the one named, or a snapshot of the repository `org/name`, downloaded into the hub's
    cache without what is not part of it.

    Args:
        revision: Branch, tag or commit of the repository.

    Raises:
        CheckpointError: where the repository cannot be had, or a revision is named of a folder.
    """
    if not is_on_hub(source):
        return own_folder(source, revision)
    with outlined(source, revision) as remote:
        ignored = remote.ignored
    return snapshot(source, revision, ignored)


def local_config(source: str | Path, revision: str | None = None) -> Path:
    """The config.json of a repository on the hub, downloaded; of a folder or file, the one named. Raises as above."""
    if not is_on_hub(source):
        return own_folder(source, revision)
    from huggingface_hub import hf_hub_download

    return Path(asked(source, partial(hf_hub_download, filename="config.json", revision=revision)))


def own_folder(source: str | Path, revision: str | None) -> Path:
    if revision is not None:
        raise CheckpointError(f"{source}: is a local folder, and has no revision {revision!r}")
    return Path(source)


def snapshot(source: str | Path, revision: str | None, ignored: list[str]) -> Path:
    """A snapshot of a repository, downloaded where it is not in the cache, without files of these patterns."""
    from huggingface_hub import snapshot_download

    return Path(asked(source, partial(snapshot_download, revision=revision, ignore_patterns=ignored)))


def asked(source: str | Path, ask: Callable[[str], Any]) -> Any:
    """What the hub answers about a repository; a `CheckpointError` where it does not."""
    repository = Path(source).as_posix()
    try:
        return ask(repository)
    except hub_errors() as error:
        raise CheckpointError(
            f"{repository}: no such folder here, and the hub does not have it or cannot be reached:",
            str(error).splitlines()[:3],
        ) from error


def hub_errors() -> tuple[type[Exception], ...]:
    """What asking the hub raises: errors of the connection, of files, of a name that no repository can have."""
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    return HFValidationError, *HfHubHTTPError.__bases__


@contextmanager
def outlined(source: str | Path, revision: str | None = None) -> Iterator[RemoteOutline]:
    """
    What there is to plan a conversion by, before gigabytes are downloaded; it is gone when the block ends. Where the hub
    cannot be reached, the snapshot in its cache.

    Raises:
        CheckpointError: where the repository cannot be had.
    """
    missing = missing_weights(source, revision)
    found = snapshot(source, revision, [*IGNORED, WEIGHTS])
    if missing is None:
        yield RemoteOutline(found, found, 0, [*IGNORED, WEIGHTS])
        return
    # Among the snapshots, so that blocks can be shared from here just where they can from there, and links to blobs are own
    with TemporaryDirectory(prefix="outline-", dir=found.parent) as temporary, named(source, temporary):
        folder = Path(temporary)
        shutil.copytree(found, folder, ignore=shutil.ignore_patterns(*IGNORED, WEIGHTS), dirs_exist_ok=True)
        for path in found.rglob(WEIGHTS):
            (folder / path.relative_to(found)).symlink_to(path)
        asked(source, partial(write_headers, folder=folder, revision=found.name, sizes=missing))
        others = missing.keys() - read_weights(folder).files.keys()
        for name in others:
            (folder / name).unlink()
        num_bytes = sum(size for name, size in missing.items() if name not in others)
        yield RemoteOutline(folder, found, num_bytes, [*IGNORED, *sorted(others)])


@contextmanager
def named(source: str | Path, folder: str) -> Iterator[None]:
    """Errors about a repository name it, instead of a folder that is gone when they are read."""
    try:
        yield
    except CheckpointError as error:
        raise CheckpointError(str(error).replace(folder, Path(source).as_posix())) from error


def missing_weights(source: str | Path, revision: str | None) -> dict[str, int] | None:
    """Weight files that are not in the cache -> bytes; `None` where the hub does not answer."""
    from huggingface_hub import snapshot_download
    from tqdm import tqdm

    class Silent(tqdm):  # type: ignore[misc]
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **{**options, "disable": True})

    try:
        files = snapshot_download(
            Path(source).as_posix(), revision=revision, allow_patterns=WEIGHTS, dry_run=True, tqdm_class=Silent
        )
    except hub_errors():
        return None  # the snapshot that is asked for next is in the cache, or the hub says why there is none
    return {file.filename: int(file.file_size or 0) for file in files if file.will_download}


def write_headers(repository: str, folder: Path, revision: str, sizes: Mapping[str, int]) -> None:
    """Write the headers of a repository's files, each in a file of the whole one's size."""
    from huggingface_hub import HfFileSystem

    hub = HfFileSystem(skip_instance_cache=True)
    hub.find(f"{repository}@{revision}", detail=True)  # what it knows of each file then takes no request

    def write_header(name: str) -> None:
        with hub.open(f"{repository}@{revision}/{name}", block_size=READ_AHEAD) as file:
            prefix = file.read(LENGTH.size)
            content = file.read(header_length(prefix, sizes[name], name))
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        with (folder / name).open("wb") as target:
            target.write(prefix + content)
            target.truncate(sizes[name])

    with ThreadPoolExecutor(NUM_REQUESTS) as pool:
        list(pool.map(write_header, sizes))
