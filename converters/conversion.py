"""From a published checkpoint to one of the family, or back: read, plan, check, and only then write."""

import os
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from .arithmetic import compute
from .auxiliary_files import LeftBehind
from .checkpoint import read_checkpoint
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
from .engine.tensor_layout import Experts, parse_size
from .engine.transfer import Link, can_share
from .engine.writing import Written, check_written, num_shareable, write_files
from .hub import RemoteOutline, is_on_hub, outlined, own_folder, snapshot
from .outline import Outline, Wishes, outline
from .runtimes import runtime_named, runtimes_of


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
    was converted from. `written` are the files beside the weights that are made anew. `unused` tensors are kept, though loading ignores them. `operations` counts tensors.
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
    readers: dict[str, str]
    not_readers: dict[str, list[str]]
    plan: WeightsPlan

    def to_dict(self) -> dict[str, Any]:
        """The report as plain data, the whole plan in it."""
        plain = {field.name: getattr(self, field.name) for field in fields(self)}
        several = ("files", "dropped", "unused", "not_carried")
        plain |= {name: [asdict(member) for member in plain[name]] for name in several}
        return {**plain, "cost": asdict(self.cost), "plan": self.plan.to_dict()}


def convert(
    src: str | Path,
    dst: str | Path,
    *,
    to: str | None = None,
    link: Link = "auto",
    experts: Experts = "keep",
    dtype: str | None = None,
    dequantise: bool = False,
    max_shard_size: str | int | None = None,
    skip: str | Sequence[str] = (),
    drop_empty_layers: bool = False,
    fuse: str | Sequence[str] = (),
    with_code: bool | Path = False,
    reader: str | None = None,
    jobs: int | None = None,
    revision: str | None = None,
    dry_run: bool = False,
) -> Report:
    """
    Convert a checkpoint to the family that its format belongs to, or to another format of that family.

    From a published format to the family's own, `hetero_origin.json` is written beside config.json. As long as the model
    stays what it says, the way back to that format gives config.json byte for byte, and every tensor its name. Tensors
    that are dropped, as the report says it, do not come back.

    Args:
        src: Folder with config.json and safetensors files, in any of the known formats, or a repository of the hub.
        dst: Folder to write. It must not exist, or be empty; it appears whole or not at all.
        to: Name of the format to write; the family's own by default.
        link: How bytes that stay get there: `auto` shares blocks where the filesystem can and copies elsewhere,
            `reflink`, `hardlink` and `copy` do only that. A hard link is the source file itself, editing it edits both;
            files that change are not linked.
        experts: `stacked` makes one tensor of the experts of a layer, `separate` one of each; `keep` leaves them.
        dtype: `bfloat16`, `float16`, `float32` or `float64`: cast the parameters that are not quantised.
        dequantise: Make floating point of experts in MXFP4, and of ModelOpt's weights in FP8 and NVFP4: `dtype`, or the
            config's. Scales of activations and of the cache are dropped.
        max_shard_size: Deal the tensors out to files of at most so many bytes, as in `5GB`; by default they stay in
            the files that they are in.
        skip: Sub-blocks to leave out, as in `attention:19,20,22-23`: a name that the family's `skippable` has, layers.
        drop_empty_layers: Take out the layers that hold nothing and renumber the others. The way back to the format that
            the checkpoint came from has them again.
        fuse: Blocks to fuse, on disk too, as in `norm_mlp:all` or `add_norm:0,3-5`: a name that the family's `fusable`
            has, layers. Converting such a folder without `fuse` gives the ordinary names again.
        with_code: Put the family's own files into the folder, so that it loads with `trust_remote_code=True` where this
            package is not installed. A folder that holds the families expanded for another release of transformers
            (`hetero generate --against`): that code.
        reader: Program that is to read it, `llama.cpp`, `mlx` or `vllm`: config.json is written as that needs it, and what it would
            compute wrongly is refused.
        jobs: Number of files written at a time; by default up to four.
        revision: Branch, tag or commit of a repository.
        dry_run: Read, check and plan, but write nothing.

    Returns:
        What was kept, dropped and left behind.

    Raises:
        CheckpointError: names every file, tensor or layer that is at fault; nothing is left behind.
        KeyboardInterrupt: leaves what is finished in a hidden folder beside the target; the same call goes on with it.
    """
    target = Path(dst)
    size = None if max_shard_size is None else parse_size(max_shard_size)
    wishes = Wishes(
        to,
        link,
        experts,
        dtype,
        dequantise,
        size,
        (skip,) if isinstance(skip, str) else tuple(skip),
        drop_empty_layers,
        (fuse,) if isinstance(fuse, str) else tuple(fuse),
        with_code,
        None if reader is None else runtime_named(reader),
    )
    refuse_loops(Path(src), target)
    origin = Path(src).as_posix() if is_on_hub(src) else Path(src).resolve().name

    def prepared(folder: Path) -> Outline:
        with reading(folder):
            planned = outline(read_checkpoint(folder, dtype, by_scales=dequantise), origin, wishes)
        check_target(folder, target)
        return planned

    try:
        if is_on_hub(src):
            # All that can be refused is, before the weights are downloaded
            with outlined(src, revision) as remote:
                planned = prepared(remote.folder)
                cost = cost_of(planned, target, link, remote)
            if dry_run:
                return make_report(str(src), planned, target, dry_run, cost, {})
            folder = snapshot(src, revision, remote.ignored)
        else:
            folder = own_folder(src, revision)
        planned = prepared(folder)
        cost = cost_of(planned, target, link)
        written = {} if dry_run else carry_out(planned, target, link, jobs or min(MAX_JOBS, os.cpu_count() or 1))
    except OSError as error:
        raise CheckpointError(f"{place_of(error, target)}: {error.strerror or error}") from error
    return make_report(str(src), planned, target, dry_run, cost, written)


def cost_of(planned: Outline, target: Path, link: Link, remote: RemoteOutline | None = None) -> Cost:
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
    sharing = link != "copy" and can_share(planned.source.folder / largest, beside)
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


def num_bytes_beside(planned: Outline) -> int:
    """Bytes of the files beside the weights."""
    copied = (planned.source.folder / name for name in planned.carried if name not in planned.texts)
    texts = (len(text.encode()) for text in planned.texts.values())
    return sum(path.stat().st_size for path in copied) + sum(texts)


def carry_out(planned: Outline, target: Path, link: Link, jobs: int) -> dict[str, Written]:
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


def source_of(planned: Outline) -> AbstractContextManager[Source]:
    """The source, its files held open; those beside the weights have to stay what they are too."""
    folder = planned.source.folder
    others = {name: fingerprint_of(os.stat(folder / name)) for name in (CONFIG, *planned.carried)}
    return held(folder, planned.source.weights.fingerprints, others)


def write_beside(planned: Outline, folder: Path) -> None:
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
    source: str, planned: Outline, target: Path, dry_run: bool, cost: Cost, written: Mapping[str, Written]
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
        model_type=planned.config.get("model_type", config.model_type),
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
        readers=readers,
        not_readers=not_readers,
        plan=weights,
    )
