"""The weights of a checkpoint folder: which safetensors files hold which tensors, from headers and index alone."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from .errors import CheckpointError, refuse
from .fingerprints import Fingerprint
from .headers import Header, TensorEntry, read_header
from .json_objects import read_object


SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
PICKLES = ("*.bin", "*.pth", "*.pt", "*.ckpt", "*.pkl")


@dataclass(frozen=True)
class Weights:
    """
    The safetensors files of a checkpoint.

    Attributes:
        files: Name of a file -> its header.
        index_metadata: What the index says beside its map, where there is an index.
        elsewhere: Name of a file -> where it lies, of those that are not in the folder.
    """

    folder: Path
    files: Mapping[str, Header]
    index_metadata: dict[str, Any] | None
    elsewhere: Mapping[str, Path] = field(default_factory=dict)

    @property
    def fingerprints(self) -> dict[str, Fingerprint]:
        """What the files were when their headers were read."""
        return {file_name: header.fingerprint for file_name, header in self.files.items()}

    def path(self, file_name: str) -> Path:
        return self.elsewhere.get(file_name, self.folder / file_name)

    def owner(self, file_name: str) -> Path:
        """The checkpoint that a file has to belong to."""
        elsewhere = self.elsewhere.get(file_name)
        return self.folder if elsewhere is None else elsewhere.parents[len(PurePosixPath(file_name).parts) - 1]

    def tensors(self) -> Iterator[tuple[str, TensorEntry]]:
        """All tensors with the names of their files, in the order of the files and their bytes."""
        for file_name, header in self.files.items():
            for entry in header.tensors.values():
                yield file_name, entry


def read_weights(folder: Path) -> Weights:
    """
    Read and check the headers of a checkpoint's safetensors files, and its index.

    Raises:
        CheckpointError: names every file and tensor at fault: missing, truncated or lying files, an index that points
            outside the folder or disagrees with the headers, tensors in two files.
    """
    if not (folder / INDEX).exists():
        require_single(folder)
        return Weights(folder, read_headers(Weights(folder, {}, None), [SINGLE]), None)
    index = read_object(folder / INDEX, folder)
    weight_map = index.get("weight_map")
    refuse(str(folder / INDEX), weight_map_problems(weight_map))
    assert isinstance(weight_map, dict)
    plain = {name: PurePosixPath(name).as_posix() for name in set(weight_map.values())}  # ./a is a
    weight_map = {tensor: plain[name] for tensor, name in weight_map.items()}
    file_names = sorted(set(plain.values()))
    refuse(str(folder / INDEX), file_problems(folder, file_names))
    files = read_headers(Weights(folder, {}, None), file_names)
    refuse(f"{folder / INDEX} and the headers of its files disagree", index_problems(weight_map, files))
    metadata = index.get("metadata")
    return Weights(folder, files, metadata if isinstance(metadata, dict) else {})


def gathered_weights(folder: Path, paths: Mapping[str, Path]) -> Weights:
    """
    The weights of a checkpoint whose files lie in several.

    Args:
        folder: The checkpoint that they are to be one with.
        paths: Name of a file in it -> where it lies.

    Raises:
        CheckpointError: names every file at fault.
    """
    gathered = Weights(folder, {}, {}, paths)
    return replace(gathered, files=read_headers(gathered, list(paths)))


def require_single(folder: Path) -> None:
    """Without an index there is one file, of one name; an error says what there is instead."""
    if (folder / SINGLE).exists():
        return
    if found := sorted(path.name for path in folder.glob("*.safetensors")):
        raise CheckpointError(
            f"{folder}: holds {found}, but no {INDEX} that says what belongs to the model",
            remedy=f"Download {INDEX} too; a single file must be called {SINGLE}.",
        )
    pickles = sorted(path.name for pattern in PICKLES for path in folder.glob(pattern))
    raise CheckpointError(
        f"{folder}: holds no {SINGLE} and no {INDEX}"
        + (f", only pickles, which are not opened: {pickles}" * bool(pickles)),
        remedy="Convert them to safetensors first, in a sandbox if you do not trust them: "
        "https://huggingface.co/spaces/safetensors/convert" * bool(pickles),
    )


def weight_map_problems(weight_map: object) -> Iterator[str]:
    """What is wrong with the index's `weight_map`, tensor name -> file name."""
    if not isinstance(weight_map, dict) or not weight_map:
        yield f"weight_map is {weight_map!r}: an object, tensor name -> file name, is needed"
        return
    for tensor, file_name in weight_map.items():
        if not isinstance(file_name, str) or not is_inside(file_name):
            yield f"{tensor!r} is said to be in {file_name!r}: a *.safetensors path inside the folder is needed"


def is_inside(file_name: str) -> bool:
    """Whether a name is that of a safetensors file, relative and without a way up, on any system."""
    paths = PurePosixPath(file_name), PureWindowsPath(file_name)
    escapes = any(path.anchor or ".." in path.parts for path in paths)
    return file_name.isprintable() and file_name.endswith(".safetensors") and not escapes


def file_problems(folder: Path, file_names: list[str]) -> Iterator[str]:
    """Files of the index that are not there, that a linked folder puts outside, or beside which others compete."""
    root = folder.resolve()
    for file_name in file_names:
        if not (folder / file_name).parent.resolve().is_relative_to(root):
            yield f"{file_name!r} lies outside the folder: {(folder / file_name).parent.resolve()}"
        elif not (folder / file_name).exists():
            yield f"{file_name!r} is named by the index and missing: download it again"
    if SINGLE not in file_names and (folder / SINGLE).is_file():
        yield f"{SINGLE!r} is there too and not named by the index: two sets of weights; remove the one not meant"


def read_headers(weights: Weights, file_names: list[str]) -> dict[str, Header]:
    """The headers of all files; a `CheckpointError` says what is wrong with each."""
    read = {file_name: header_or_error(weights, file_name) for file_name in file_names}
    errors = [error for error in read.values() if isinstance(error, CheckpointError)]
    problems = [str(error).replace("\n", "\n  ") for error in errors]
    were_read = any(not isinstance(error.__cause__, OSError) for error in errors)
    refuse(
        str(weights.folder), problems, "A file that is truncated or damaged has to be downloaded again." * were_read
    )
    return {file_name: header for file_name, header in read.items() if isinstance(header, Header)}


def header_or_error(weights: Weights, file_name: str) -> Header | CheckpointError:
    try:
        return read_header(weights.path(file_name), file_name, weights.owner(file_name))
    except CheckpointError as error:
        return error


def index_problems(weight_map: Mapping[str, str], files: Mapping[str, Header]) -> Iterator[str]:
    """Tensors that the index and the headers do not place in the same, single file."""
    places: dict[str, list[str]] = {}
    for file_name, header in files.items():
        for tensor in header.tensors:
            places.setdefault(tensor, []).append(file_name)
    for tensor in sorted(places.keys() | weight_map.keys()):
        found, said = places.get(tensor, []), weight_map.get(tensor)
        if found != [said]:
            yield f"{tensor!r}: in the index {said or 'not listed'}, in the headers of {', '.join(found) or 'no file'}"
