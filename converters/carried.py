"""The other files of a checkpoint folder: tokenizer, chat template, generation config, model card, licence."""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from .weights import INDEX, PICKLES


MAX_CARRIED_BYTES = 100 * 2**20
# Written anew from the family's config and the plan
REWRITTEN = ("config.json", "hetero_origin.json", INDEX)
PICKLE = "pickle: it can run code when it is opened"
OTHER_WEIGHTS = "weights that the index does not name"
# Pattern of file names -> why they stay behind
LEFT_BEHIND = {
    "*.py": "remote code: the family is part of this package",
    "*.pyc": "remote code: the family is part of this package",
    **dict.fromkeys(PICKLES, PICKLE),
    **dict.fromkeys((f"{pattern}.index.json" for pattern in PICKLES), "index of pickles"),
    "*.safetensors": OTHER_WEIGHTS,
    "*.safetensors.index.json": OTHER_WEIGHTS,
    **dict.fromkeys(("*.gguf", "*.h5", "*.msgpack", "*.onnx", "*.tflite", "*.npz"), "weights of another framework"),
}
# Folders that are not part of the checkpoint -> why
LEFT_BEHIND_FOLDERS = {".git": "version control", ".cache": "download records", "__pycache__": "compiled code"}


@dataclass(frozen=True)
class LeftBehind:
    """A file or folder of the source that is not carried along, and why."""

    name: str
    reason: str


def other_files(folder: Path, weight_files: Iterable[str]) -> tuple[list[str], list[LeftBehind]]:
    """
    The files beside the weights, as (names to carry along, what stays behind).

    Args:
        folder: The checkpoint.
        weight_files: Names of the files that the plan of the weights deals with.
    """
    done = {*REWRITTEN, *weight_files}
    reasons = {name: file_reason(folder / name) for name in file_names(folder) if name not in done}
    folders = [LeftBehind(name, reason) for name, reason in LEFT_BEHIND_FOLDERS.items() if (folder / name).exists()]
    carried = [name for name, reason in reasons.items() if reason is None]
    return carried, folders + [LeftBehind(name, reason) for name, reason in reasons.items() if reason is not None]


def file_names(folder: Path) -> Iterator[str]:
    """All files in the folder and those inside it, relative, sorted; links to folders are not followed."""
    for path, folders, files in os.walk(folder):
        folders[:] = sorted(set(folders) - LEFT_BEHIND_FOLDERS.keys())
        for name in sorted(files):
            yield (Path(path) / name).relative_to(folder).as_posix()


def file_reason(path: Path) -> str | None:
    """Why a file stays behind; `None` where it is carried along."""
    for pattern, reason in LEFT_BEHIND.items():
        if fnmatch(path.name, pattern):
            return reason
    if not path.is_file():
        return "not a file that can be read: a broken link or a special file"
    if path.is_symlink() and not is_own(path):
        return f"a link to a file outside the checkpoint: {path.resolve()}"
    if path.stat().st_size > MAX_CARRIED_BYTES:
        return f"{path.stat().st_size:,} bytes, more than the {MAX_CARRIED_BYTES:,} that accompany weights"
    return None


def is_own(link: Path) -> bool:
    """Whether a link leads to a file of its own folder, or, in a hub cache, to the `blobs` of the same repository."""
    target = link.resolve()
    roots = [link.parent.resolve(), *(parent / "blobs" for parent in link.parent.resolve().parents)]
    return any(target.is_relative_to(root) for root in roots)
