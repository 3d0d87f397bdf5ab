"""From a published checkpoint to one of the family: read, plan, check, and only then write."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from .carried import LeftBehind, other_files
from .errors import CheckpointError
from .family import PublishedFormat
from .formats import family_config, read_config
from .plan import DroppedTensor, FilePlan, WeightsPlan, check_tensors, plan_weights
from .staging import check_target, staged_folder, write_text
from .transfer import Advance, Link, copy_spans, transfer_file
from .weights import INDEX, read_weights


NEW_HEADER = "new header"
# Fields of published configs that are read into others of the family's config, `mixer_types` and `rope_parameters` among them
TRANSLATED = ("block_configs", "num_key_value_heads_per_layer", "rope_scaling", "rope_theta", "torch_dtype")


@dataclass(frozen=True)
class WrittenFile:
    """A weight file of the output: its size in bytes, and how it came there (planned: `unchanged` or `new header`)."""

    name: str
    num_bytes: int
    how: str


@dataclass(frozen=True)
class Report:
    """
    What a conversion did, or would do: every tensor and every file of the source is in it.

    `dropped_fields` are those of the published config that only its remote code reads, or that transformers has moved
    to the generation config.
    """

    source: str
    target: str
    format: str
    model_type: str
    num_parameters: int
    num_tensors: int
    num_bytes: int
    dry_run: bool
    files: tuple[WrittenFile, ...]
    dropped: tuple[DroppedTensor, ...]
    dropped_fields: tuple[str, ...]
    carried: tuple[str, ...]
    not_carried: tuple[LeftBehind, ...]

    def to_dict(self) -> dict[str, Any]:
        """The report as plain data."""
        return asdict(self)


@dataclass(frozen=True)
class Conversion:
    """All that is known before the first byte is written."""

    source: Path
    published: PublishedFormat
    config: Any
    dropped_fields: list[str]
    weights: WeightsPlan
    carried: list[str]
    not_carried: list[LeftBehind]


def convert(src: str | Path, dst: str | Path, link: Link = "auto", dry_run: bool = False) -> Report:
    """
    Convert a checkpoint folder to the family that its format belongs to.

    Args:
        src: Folder with config.json and safetensors files, in any of the known formats.
        dst: Folder to write. It must not exist, or be empty; it appears whole or not at all.
        link: How unchanged files get there: `auto` shares blocks where the filesystem can and copies elsewhere,
            `reflink`, `hardlink` and `copy` do only that. A hard link is the source file itself: editing it edits both.
        dry_run: Read, check and plan, but write nothing.

    Returns:
        What was kept, dropped and left behind.

    Raises:
        CheckpointError: names every file, tensor or layer that is at fault; nothing is left behind.
    """
    source, target = Path(src), Path(dst)
    try:
        conversion = prepare(source)
        check_target(source, target)
        hows = {} if dry_run else carry_out(conversion, target, link)
    except OSError as error:
        raise CheckpointError(f"{error.filename or target}: {error.strerror or error}") from error
    return make_report(conversion, target, dry_run, hows)


def prepare(source: Path) -> Conversion:
    """Read and check a checkpoint, and plan its conversion."""
    published, config_dict = read_config(source)
    if not source.is_dir():
        raise CheckpointError(f"{source}: a checkpoint folder is needed, this is a file")
    refuse_quantised(source, config_dict)
    config = family_config(published, config_dict, str(source / "config.json"))
    weights = read_weights(source)
    plan = plan_weights(weights, published.dropped)
    check_tensors(weights, plan, published.family.tensor_shapes(config), published.family.optional(config))
    carried, not_carried = other_files(source, weights.files)
    dropped_fields = lost_fields(config_dict, config)
    return Conversion(source, published, config, dropped_fields, plan, carried, not_carried)


def refuse_quantised(source: Path, config_dict: Mapping[str, Any]) -> None:
    """Scale tensors that belong to weights are not understood here."""
    quantisation = config_dict.get("quantization_config")
    if quantisation:
        method = quantisation.get("quant_method") if isinstance(quantisation, dict) else quantisation
        raise CheckpointError(
            f"{source / 'config.json'}: quantization_config has quant_method = {method!r}: "
            "quantised checkpoints cannot be converted; convert the one that it was made from"
        )


def lost_fields(config_dict: Mapping[str, Any], config: Any) -> list[str]:
    """The fields of a published config that are neither in the family's nor translated into others of its fields."""
    return sorted(name for name in config_dict if name not in TRANSLATED and not hasattr(config, name))


def carry_out(conversion: Conversion, target: Path, link: Link) -> dict[str, str]:
    """Write the output; how each weight file came there. The config is last: without it nothing loads the folder."""
    total = sum(file.num_bytes for file in conversion.weights.files)
    with staged_folder(target) as folder, tqdm(total=total, unit="B", unit_scale=True, disable=None) as progress:
        hows = {
            file.name: write_file(conversion.source, folder, file, link, progress.update)
            for file in conversion.weights.files
        }
        for name in conversion.carried:
            transfer_file(conversion.source / name, make_room(folder / name), "copy", lambda num_bytes: None)
        if conversion.weights.index is not None:
            write_text(folder / INDEX, json.dumps(conversion.weights.index, indent=2) + "\n")
        write_text(folder / "config.json", conversion.config.to_json_string())
    return hows


def write_file(source: Path, folder: Path, file: FilePlan, link: Link, advance: Advance) -> str:
    """Write one weight file; how."""
    target = make_room(folder / file.name)
    if file.header is None:
        return transfer_file(source / file.name, target, link, advance)
    copy_spans(source / file.name, target, file.header, file.spans, advance)
    return NEW_HEADER


def make_room(path: Path) -> Path:
    """The path, in a folder that exists."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def make_report(conversion: Conversion, target: Path, dry_run: bool, hows: Mapping[str, str]) -> Report:
    plan, family = conversion.weights, conversion.published.family
    planned = {file.name: "unchanged" if file.header is None else NEW_HEADER for file in plan.files}
    hows = {**planned, **hows}
    return Report(
        source=str(conversion.source),
        target=str(target),
        format=conversion.published.name,
        model_type=conversion.config.model_type,
        num_parameters=family.num_parameters(conversion.config),
        num_tensors=plan.num_tensors,
        num_bytes=sum(file.num_bytes for file in plan.files),
        dry_run=dry_run,
        files=tuple(WrittenFile(file.name, file.num_bytes, hows[file.name]) for file in plan.files),
        dropped=plan.dropped,
        dropped_fields=tuple(conversion.dropped_fields),
        carried=tuple(conversion.carried),
        not_carried=tuple(conversion.not_carried),
    )
