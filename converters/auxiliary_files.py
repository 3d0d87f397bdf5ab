"""The other files of a checkpoint folder: tokenizer, chat template, generation config, model card, licence."""

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from .engine.errors import refuse
from .engine.files import is_own
from .engine.weights import INDEX, PICKLES
from .formats.anymodel_halves import LIBRARY_FILES


MAX_CARRIED_BYTES = 100 * 2**20
# Written anew from the family's config and the plan
REWRITTEN = ("config.json", "hetero_origin.json", INDEX)
PICKLE = "pickle: it can run code when it is opened"
OTHER_WEIGHTS = "weights that the index does not name"
LIBRARY = "library of sub-blocks: it names the weights of another folder"
# Pattern of file names -> why they stay behind
LEFT_BEHIND = {
    "*.py": "remote code: the family is part of this package",
    "*.pyc": "remote code: the family is part of this package",
    **dict.fromkeys(PICKLES, PICKLE),
    **dict.fromkeys((f"{pattern}.index.json" for pattern in PICKLES), "index of pickles"),
    "*.safetensors": OTHER_WEIGHTS,
    "*.safetensors.index.json": OTHER_WEIGHTS,
    **dict.fromkeys(LIBRARY_FILES, LIBRARY),
    **dict.fromkeys(("*.gguf", "*.h5", "*.msgpack", "*.onnx", "*.tflite", "*.npz"), "weights of another framework"),
}
# Folders, or files in their place, that are not part of the checkpoint -> why
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

    Raises:
        CheckpointError: names every file and folder that cannot be read.
    """
    done = {*REWRITTEN, *weight_files}
    errors: list[OSError] = []
    reasons = {name: reason for name, reason in walked(folder, errors.append) if name not in done}
    carried = [name for name, reason in reasons.items() if reason is None]
    errors += [error for name in carried if (error := reading_error(folder / name)) is not None]
    refuse(
        f"{folder}: what lies beside the weights cannot be read",
        (f"{error.filename}: {error.strerror}" for error in errors),
        remedy="Make it readable, or move what is not part of the checkpoint out of the folder.",
    )
    return carried, [LeftBehind(name, reason) for name, reason in reasons.items() if reason is not None]


def reading_error(path: Path) -> OSError | None:
    """Why a file cannot be read; `None` where it can."""
    try:
        path.open("rb").close()
    except OSError as error:
        return error
    return None


def walked(folder: Path, on_error: Callable[[OSError], object]) -> Iterator[tuple[str, str | None]]:
    """
    Name, relative, of all files in the folder and those inside it, and of folders that are not entered; and why they stay
    behind, `None` where they are carried along.
    """
    for path, folders, files in os.walk(folder, onerror=on_error):
        inside = Path(path).relative_to(folder)
        closed = {name: reason for name in sorted(folders) if (reason := folder_reason(folder / inside / name))}
        for name, reason in closed.items():
            yield (inside / name).as_posix(), reason
        folders[:] = sorted(set(folders) - closed.keys())
        for name in sorted(files):
            yield (inside / name).as_posix(), file_reason(folder / inside / name, folder)


def folder_reason(path: Path) -> str | None:
    """Why a folder stays behind; `None` where it is entered."""
    link = f"a link to a folder, which is not followed: {path.resolve()}" if path.is_symlink() else None
    return LEFT_BEHIND_FOLDERS.get(path.name, link)


def file_reason(path: Path, root: Path) -> str | None:
    """
    Why a file stays behind; `None` where it is carried along.

    Args:
        root: The checkpoint.
    """
    for pattern, reason in LEFT_BEHIND.items():
        if fnmatch(path.name, pattern):
            return reason
    if path.name in LEFT_BEHIND_FOLDERS:
        return LEFT_BEHIND_FOLDERS[path.name]
    if not path.is_file():
        return "not a file that can be read: a broken link or a special file"
    if path.is_symlink() and not is_own(path, root.resolve()):
        return f"a link to a file outside the checkpoint: {path.resolve()}"
    if path.stat().st_size > MAX_CARRIED_BYTES:
        return f"{path.stat().st_size:,} bytes, more than the {MAX_CARRIED_BYTES:,} that accompany weights"
    return None
