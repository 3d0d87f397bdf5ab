"""
A checkpoint put together as a solution of Puzzletron's says: of each layer the block that was chosen, from whichever checkpoint
it lies in, and what is around the layers from the library's own.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from transformers_heterogeneous.configuration_heterogeneous import MAX_LAYERS

from .checkpoint import Checkpoint, checked_checkpoint
from .engine.errors import CheckpointError, refuse
from .engine.files import read_file
from .engine.json_objects import parse_json
from .engine.weights import gathered_weights
from .formats.anymodel_halves import FOLDER, REPLACEMENTS
from .formats.recognition import config_file, read_config
from .formats.typed_layers import are_typed


MAX_BYTES = 2**30  # of a file of solutions: each has all layers
TEACHER, CHECKPOINTS = "ckpts/teacher", "ckpts"
BLOCK = "block_"  # how the names of files of layers begin
SLICES = (
    "is of Puzzletron's second generation, whose sub-blocks lie in no files: they are cut out of a sorted teacher, in an order "
    "that its own code knows. Let Puzzletron realise it, and convert what it wrote"
)


@dataclass(frozen=True)
class Replacement:
    """The block that a solution chose for a layer, and the files that hold its weights."""

    layer: int
    block_config: Mapping[str, Any]
    paths: tuple[str, ...]


def assembling(
    library: Path, file: Path, index: int | None, dtype: str | None
) -> tuple[Path, Callable[[Path], Checkpoint]]:
    """
    The checkpoint that a library has around its layers, and what reads it with the layers of a solution.

    Args:
        library: Folder of a checkpoint with its library, or Puzzletron's, which has its checkpoints in `ckpts`.
        file: With one solution, or a list of several.
        index: Which of them.
        dtype: What the config is to say instead of its own.

    Raises:
        CheckpointError: names every replacement and file at fault.
    """
    folder = checkpoint_of(library)
    chosen = replacements_of(chosen_solution(file, index), str(file))
    names = {each for replacement in chosen for each in replacement.paths}
    paths = {name: library / name for name in names}  # itself, where it is a full path
    lost = sorted(name for name in names if not is_file(paths[name]))
    before = written_in(library) if lost else None
    paths |= {name: found for name in lost if (found := moved(Path(name), library, folder, before)) is not None}
    refuse(
        f"{file}: names weights that are not there",
        (name for name in lost if not is_file(paths[name])),
        remedy="Put them back, or correct the paths.",
    )
    return folder, partial(assembled_checkpoint, chosen=chosen, paths=paths, dtype=dtype)


def checkpoint_of(library: Path) -> Path:
    """The folder of a library's own checkpoint."""
    for folder in (library, library / TEACHER):
        if config_file(folder).is_file():
            return folder
    raise CheckpointError(
        f"{library}: no library of sub-blocks: there is no config.json, and none in {TEACHER}",
        remedy="`hetero convert SRC DST --to anymodel --subblocks` writes one.",
    )


def chosen_solution(file: Path, index: int | None) -> dict[str, Any]:
    """The solution of a file that is meant."""
    parsed = parse_json(read_file(file, MAX_BYTES), str(file))
    solutions = parsed if isinstance(parsed, list) else [parsed]
    if index is None and len(solutions) == 1:
        index = 0
    if index is None or not 0 <= index < len(solutions):
        asked = "say which with --index" if index is None else f"there is no number {index}"
        raise CheckpointError(f"{file}: holds {len(solutions):,} solutions: {asked}")
    solution = solutions[index]
    if isinstance(solution, dict) and isinstance(solution.get("puzzle_solution"), dict):
        solution = solution["puzzle_solution"]  # as validations say it
    if isinstance(solution, dict) and solution.get("version") == 2:
        raise CheckpointError(f"{file}: {SLICES}")
    if not isinstance(solution, dict) or not isinstance(solution.get("chosen_replacements"), list):
        raise CheckpointError(f"{file}: solution {index} has no list of chosen_replacements")
    return solution


def replacements_of(solution: Mapping[str, Any], source: str) -> list[Replacement]:
    """What a solution chose, by layer; one for each."""
    chosen = [as_object(each, source) for each in solution["chosen_replacements"]]
    if any(are_typed(each.get("child_block_configs")) for each in chosen):
        raise CheckpointError(f"{source}: {SLICES}")
    refuse(
        f"{source}: cannot be put together",
        (
            f"chosen_replacements[{at}]{error}"
            for at, each in enumerate(chosen)
            for error in replacement_problems(each)
        ),
    )
    found = [
        Replacement(each["parent_layer_indices"][0], each["child_block_configs"][0], tuple(each["weight_paths"]))
        for each in chosen
    ]
    layers = Counter(each.layer for each in found)
    twice = sorted(layer for layer, times in layers.items() if times > 1)
    missing = sorted(set(range(max(layers, default=0) + 1)) - layers.keys())
    problems = [f"layers {twice} are replaced more than once"] * bool(twice)
    problems += [f"layers {missing} are replaced by nothing, not even themselves"] * bool(missing)
    refuse(f"{source}: cannot be put together", problems)
    return sorted(found, key=lambda each: each.layer)


def as_object(replacement: Any, source: str) -> dict[str, Any]:
    """A replacement, which may stand in a text, or in another object beside what it scored."""
    found = from_text(replacement, source)
    return from_text(found["layer_replacement"], source) if "layer_replacement" in found else found


def from_text(said: Any, source: str) -> dict[str, Any]:
    if isinstance(said, str):
        said = parse_json(said.encode("utf-8", "surrogatepass"), source)
    return said if isinstance(said, dict) else {}


def replacement_problems(replacement: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with one of them."""
    layers, blocks = replacement.get("parent_layer_indices"), replacement.get("child_block_configs")
    if not isinstance(layers, list) or not all(type(layer) is int and 0 <= layer < MAX_LAYERS for layer in layers):
        yield f": parent_layer_indices = {layers!r}: a list of layers is needed"
    elif not isinstance(blocks, list) or (len(layers), len(blocks)) != (1, 1):
        number = len(blocks) if isinstance(blocks, list) else repr(blocks)
        yield f": {number} child_block_configs for the layers {layers}: one block for one layer is read, and no other"
    elif not isinstance(blocks[0], dict):
        yield f": child_block_configs = {blocks!r}: a block is needed"
    paths = replacement.get("weight_paths")
    if not isinstance(paths, list) or not all(isinstance(path, str) for path in paths):
        yield f": weight_paths = {paths!r}: a list of files is needed"
        return
    for path in paths:
        if (
            Path(path).parent.name != FOLDER
            or not Path(path).name.startswith(BLOCK)
            or not path.endswith(".safetensors")
        ):
            yield f": {path!r} is no file of a sub-block, {FOLDER}/{BLOCK}LAYER_NAME.safetensors"


def is_file(path: Path) -> bool:
    """Whether there is a file of this name, which may be one that none can have."""
    try:
        return path.is_file()
    except OSError:
        return False


def moved(path: Path, library: Path, folder: Path, before: Path | None) -> Path | None:
    """
    Where a file lies in a library that has been moved; `None` where it is not there either.

    Args:
        folder: Of the library's own checkpoint.
        before: Where that lay.
    """
    places = [library.joinpath(*path.parts[at:]) for at, name in enumerate(path.parts) if name == CHECKPOINTS]
    if path.parent.parent == before:
        places.append(folder / FOLDER / path.name)
    return next((place for place in places if is_file(place)), None)


def written_in(library: Path) -> Path | None:
    """Where the checkpoint lay whose weights a library names, and no others: its own, when it was written."""
    file = library / REPLACEMENTS
    listed = parse_json(read_file(file, MAX_BYTES), str(file)) if file.is_file() else None
    replacements = [each for each in listed if isinstance(each, dict)] if isinstance(listed, list) else []
    paths = [path for each in replacements for path in each.get("weight_paths") or ()]
    folders = {Path(path).parent.parent for path in paths if isinstance(path, str)}
    return folders.pop() if len(folders) == 1 else None


def assembled_checkpoint(
    folder: Path, chosen: list[Replacement], paths: Mapping[str, Path], dtype: str | None
) -> Checkpoint:
    """
    The checkpoint of a folder with the layers of a solution.

    Args:
        paths: What the solution calls a file -> where it lies.
    """
    published, config_dict = read_config(folder)
    if published.name != "anymodel":
        raise CheckpointError(
            f"{folder}: is in the format {published.name}, and its sub-blocks do not lie in files of their own",
            remedy="`hetero convert SRC DST --to anymodel --subblocks` makes a library of it.",
        )
    around = [path for path in sorted((folder / FOLDER).glob("*.safetensors")) if not path.name.startswith(BLOCK)]
    files = {f"{FOLDER}/{path.name}": path for path in around}
    doubles = []
    for path in (paths[each] for replacement in chosen for each in replacement.paths):
        other = files.setdefault(f"{FOLDER}/{path.name}", path)
        if other != path:
            doubles.append(f"{path} and {other} are of the same sub-block")
    refuse(f"{folder}: cannot be put together", doubles)
    config = {**config_dict, "block_configs": [each.block_config for each in chosen]}
    return checked_checkpoint(folder, published, config, lambda: gathered_weights(folder, files), dtype)
