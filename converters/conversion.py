"""From a published checkpoint to one of the family, or back: read, plan, check, and only then write."""

import os
import shutil
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from .arithmetic import compute
from .assembling import assembling
from .auxiliary_files import LeftBehind
from .checkpoint import Checkpoint, read_checkpoint
from .conversion_options import ConversionOptions
from .conversion_plan import ConversionPlan, plan_conversion
from .engine.errors import CheckpointError, reading, refuse_loops
from .engine.fingerprints import fingerprint_of
from .engine.open_files import Source, held
from .engine.plan import NamedTensor, WeightsPlan
from .engine.progress import progress_bar
from .engine.staging import (
    FILES,
    check_target,
    num_bytes_free,
    num_bytes_on_disk,
    parent_of,
    remove_others,
    staged_folder,
    staging_of,
    write_text,
)
from .engine.transfer import Link, can_share
from .engine.writing import Written, check_written, num_shareable, write_files
from .hub import RemoteOutline, is_on_hub, outlined, own_folder, snapshot
from .narrowing import Cut
from .runtimes import runtimes_of
from .subblock_library import library_texts


CONFIG = "config.json"
MAX_JOBS = 4  # more threads do not make a disk faster


@dataclass(frozen=True)
class WrittenFile:
    """
    A weight file of the output: its size in bytes, how it came there, and how many bytes it shares with the source.

    Planned files are `unchanged`, `new header`, `rebuilt` or `transformed`; once they are written, unchanged ones are a
    `reflink`, `hardlink` or `copy`, and those that an earlier run had written are `resumed`.
    """

    name: str
    num_bytes: int
    how: str
    num_shared_bytes: int


@dataclass(frozen=True)
class Cost:
    """
    What a conversion takes, in bytes: written, the files beside the weights counted in, and shared with the source
    instead; free on the target's filesystem; downloaded first into the hub's cache. The output is put together where it
    will lie, so no room is needed beside it.
    """

    num_bytes_written: int
    num_bytes_shared: int
    num_bytes_free: int
    num_bytes_downloaded: int = 0


@dataclass(frozen=True)
class Report:
    """
    What a conversion did, or would do: every tensor and every file of the source is in it.

    `dropped_fields` are those of the published config that only its remote code reads, or that transformers has moved
    to the generation config. `dropped_layers` are numbers in the source. `restored` is the output that is what the source
    was converted from. `cut` is what was cut out of tensors, with the sizes of the model before and after. `written` are the files beside the weights that are made anew. `unused` tensors are kept, though loading ignores them. `operations` counts tensors.
    `readers` are other programs that read the output, each with the option that it needs; `not_readers` says why others do not.
    """

    source: str
    target: str
    format: str
    to: str
    model_type: str
    num_parameters: int
    num_tensors: int
    num_bytes: int
    dry_run: bool
    files: tuple[WrittenFile, ...]
    operations: dict[str, int]
    cost: Cost
    dropped: tuple[NamedTensor, ...]
    unused: tuple[NamedTensor, ...]
    dropped_layers: tuple[int, ...]
    restored: bool
    dropped_fields: tuple[str, ...]
    written: tuple[str, ...]
    carried: tuple[str, ...]
    not_carried: tuple[LeftBehind, ...]
    cut: Cut | None
    readers: dict[str, str]
    not_readers: dict[str, list[str]]
    plan: WeightsPlan

    def to_dict(self) -> dict[str, Any]:
        """The report as plain data, the whole plan in it."""
        plain = {field.name: getattr(self, field.name) for field in fields(self)}
        several = ("files", "dropped", "unused", "not_carried")
        plain |= {name: [asdict(member) for member in plain[name]] for name in several}
        plain["cut"] = None if self.cut is None else asdict(self.cut)
        return {**plain, "cost": asdict(self.cost), "plan": self.plan.to_dict()}


def convert(src: str | Path, dst: str | Path, options: ConversionOptions | None = None, **more: Any) -> Report:
    """
    Convert a checkpoint to the family that its format belongs to, or to another format of that family.

    From a published format to the family's own, `hetero_origin.json` is written beside config.json. As long as the model
    stays what it says, the way back to that format gives config.json byte for byte, and every tensor its name. Tensors
    that are dropped, as the report says it, do not come back.

    Args:
        src: Folder with config.json and safetensors files, in any of the known formats, or a repository of the hub.
        dst: Folder to write. It must not exist, or be empty; it appears whole or not at all.
        options: What is wanted of it.
        more: Members of [`ConversionOptions`] by name, in place of these or beside them.

    Returns:
        What was kept, dropped and left behind.

    Raises:
        CheckpointError: names every file, tensor or layer that is at fault; nothing is left behind.
        KeyboardInterrupt: leaves what is finished in a hidden folder beside the target; the same call goes on with it.
    """
    options = replace(options or ConversionOptions(), **more)
    if options.solution is not None:
        folder, assemble = assembling(Path(src), options.solution, options.index, options.dtype)
        return replace(converted(folder, dst, options, assemble), source=str(src))
    to = options.to or ""
    return converted(src, dst, options, lambda folder: read_checkpoint(folder, options.dtype, options.dequantise, to))


def converted(
    src: str | Path, dst: str | Path, options: ConversionOptions, read: Callable[[Path], Checkpoint]
) -> Report:
    """
    The same, of what is read in another way.

    Args:
        read: Reads a folder, or the headers that stand for one that is on the hub.
    """
    target, revision, dry_run = Path(dst), options.revision, options.dry_run
    refuse_loops(Path(src), target)
    origin = Path(src).as_posix() if is_on_hub(src) else Path(src).resolve().name

    def planned_from(folder: Path, options: ConversionOptions = options) -> ConversionPlan:
        with reading(folder):
            planned = plan_conversion(read(folder), origin, options)
        check_target(folder, target)
        return with_library(planned, target) if options.subblocks else planned

    try:
        if is_on_hub(src):
            # All that can be refused is, before the weights are downloaded
            with outlined(src, revision) as remote:
                unread = None if options.prune is None else options.prune.by_shapes_alone()
                planned = planned_from(remote.folder, replace(options, prune=unread))
                cost = cost_of(planned, target, options.link, remote)
            if dry_run:
                return make_report(str(src), planned, target, dry_run, cost, {})
            folder = snapshot(src, revision, remote.ignored)
        else:
            folder = own_folder(src, revision)
        planned = planned_from(folder)
        cost = cost_of(planned, target, options.link)
        jobs = options.jobs or min(MAX_JOBS, os.cpu_count() or 1)
        written = {} if dry_run else carry_out(planned, target, options.link, jobs)
    except OSError as error:
        raise CheckpointError(f"{place_of(error, target)}: {error.strerror or error}") from error
    return make_report(str(src), planned, target, dry_run, cost, written)


def with_library(planned: ConversionPlan, target: Path) -> ConversionPlan:
    """A conversion that writes the library of the sub-blocks too, which says where they will lie."""
    library = library_texts(planned.config["block_configs"], target.resolve())
    left = tuple(left for left in planned.not_carried if left.name not in library)
    return replace(planned, texts={**library, **planned.texts}, not_carried=left)


def cost_of(planned: ConversionPlan, target: Path, link: Link, remote: RemoteOutline | None = None) -> Cost:
    """
    What the conversion will take.

    Args:
        remote: Where the checkpoint has yet to be downloaded.

    Raises:
        CheckpointError: where there is no room for it, or blocks are to be shared and the filesystem cannot.
    """
    beside, files = parent_of(target), planned.weights.files
    headers = planned.source.weights.files
    largest = max(headers, key=lambda name: headers[name].file_size)
    sharing = link != "copy" and can_share(planned.source.weights.path(largest), beside)
    if link == "reflink" and not sharing:
        raise CheckpointError(
            f"{planned.source.folder}: no reflink is possible from there to {beside}",
            remedy="Use --link auto or --link copy.",
        )
    shared = sum(num_shareable(file, link, sharing) for file in files)
    needed = planned.weights.num_bytes - shared + num_bytes_beside(planned)
    there = num_bytes_on_disk(staging_of(target))
    missing = remote.num_bytes_missing if remote else 0
    on_one = remote is not None and remote.cache.stat().st_dev == beside.stat().st_dev
    wanted = needed + missing * on_one
    cost = Cost(needed, shared, num_bytes_free(beside, wanted - there), missing)
    if wanted > cost.num_bytes_free + there:
        download = f" after a download of {missing:,}" if on_one and missing else ""
        raise CheckpointError(
            f"{target}: takes {needed:,} bytes{download}, {beside} has {cost.num_bytes_free + there:,} free"
        )
    if remote is not None and (free := num_bytes_free(remote.cache, missing)) < missing:
        raise CheckpointError(
            f"{remote.cache}: {missing:,} bytes are to be downloaded, {free:,} are free",
            remedy="HF_HOME names another folder for the hub's cache.",
        )
    return cost


def num_bytes_beside(planned: ConversionPlan) -> int:
    """Bytes of the files beside the weights."""
    copied = (planned.source.folder / name for name in planned.carried if name not in planned.texts)
    texts = (len(text.encode()) for text in planned.texts.values())
    return sum(path.stat().st_size for path in copied) + sum(texts)


def carry_out(planned: ConversionPlan, target: Path, link: Link, jobs: int) -> dict[str, Written]:
    """
    Write the output; how each weight file came there. What fails with the small files does so before hours of weights;
    the config is last: without it nothing loads the folder.
    """
    files = planned.weights.files
    with staged_folder(target) as folder, source_of(planned) as source:
        remove_others(folder, {file.name for file in files})
        write_beside(planned, folder)
        with progress_bar(planned.weights.num_bytes) as advance:
            written = write_files(files, source, folder, link, jobs, compute, advance)
        check_written(files, folder)
        write_text(folder / CONFIG, planned.texts[CONFIG])
    return written


def source_of(planned: ConversionPlan) -> AbstractContextManager[Source]:
    """The source, its files held open; those beside the weights have to stay what they are too."""
    folder = planned.source.folder
    others = {name: fingerprint_of(os.stat(folder / name)) for name in (CONFIG, *planned.carried)}
    return held(planned.source.weights, others)


def write_beside(planned: ConversionPlan, folder: Path) -> None:
    """Write the files beside the weights, all but the config."""
    for name in planned.carried:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        if name not in planned.texts:
            shutil.copyfile(planned.source.folder / name, folder / name)
    for name, text in planned.texts.items():
        if name != CONFIG:
            write_text(folder / name, text)


def place_of(error: OSError, target: Path) -> str:
    """The file that an error is about, the one that was written to if there are two, as it is called in the end."""
    name, files = error.filename2 or error.filename, staging_of(target) / FILES
    if not isinstance(name, str):
        return str(target)
    path = Path(name)
    return str(target / path.relative_to(files)) if path.is_relative_to(files) else name


def make_report(
    source: str, planned: ConversionPlan, target: Path, dry_run: bool, cost: Cost, written: Mapping[str, Written]
) -> Report:
    weights, config = planned.weights, planned.source.config
    tensors = [tensor for file in weights.files for tensor in file.tensors]
    readers, not_readers = runtimes_of(planned.output.name, config, planned.config)
    ways = {file.name: written.get(file.name, Written(file.how, 0)) for file in weights.files}
    return Report(
        source=source,
        target=str(target),
        format=planned.source.published.name,
        to=planned.output.name,
        model_type=str(planned.config.get("model_type", config.model_type)),
        num_parameters=planned.source.published.family.num_parameters(config),
        num_tensors=weights.num_tensors,
        num_bytes=weights.num_bytes,
        dry_run=dry_run,
        files=tuple(
            WrittenFile(file.name, file.num_bytes, ways[file.name].how, ways[file.name].num_shared_bytes)
            for file in weights.files
        ),
        operations=dict(Counter(tensor.operation for tensor in tensors)),
        cost=cost,
        dropped=weights.dropped,
        unused=weights.unused,
        dropped_layers=planned.dropped_layers,
        restored=planned.restored,
        dropped_fields=planned.dropped_fields,
        written=tuple(planned.texts),
        carried=planned.carried,
        not_carried=planned.not_carried,
        cut=planned.cut,
        readers=readers,
        not_readers=not_readers,
        plan=weights,
    )
