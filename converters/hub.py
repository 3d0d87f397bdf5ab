"""Checkpoints on the Hugging Face hub."""

import re
from pathlib import Path

from .carried import LEFT_BEHIND, OTHER_WEIGHTS
from .errors import CheckpointError


REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def local_folder(source: str | Path, revision: str | None = None) -> Path:
    """
    The folder of a checkpoint: the one named, or a snapshot of the repository `org/name`, downloaded into the hub's
    cache without what a conversion leaves behind.

    Args:
        revision: Branch, tag or commit of the repository.

    Raises:
        CheckpointError: where the repository cannot be had, or a revision is named of a folder.
    """
    path = Path(source)
    if path.exists() or not REPOSITORY.fullmatch(path.as_posix()):
        if revision is not None:
            raise CheckpointError(f"{source}: is a local folder, and has no revision {revision!r}")
        return path
    return snapshot(path.as_posix(), revision)


def snapshot(repository: str, revision: str | None) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError

    ignored = [pattern for pattern, reason in LEFT_BEHIND.items() if reason != OTHER_WEIGHTS]
    try:
        return Path(snapshot_download(repository, revision=revision, ignore_patterns=ignored))
    except (HFValidationError, OSError) as error:
        raise CheckpointError(
            f"{repository}: no such folder here, and the hub does not have it or cannot be reached:",
            str(error).splitlines()[:3],
        ) from error
