"""The files beside the weights of the output: what is carried along, the model card, and where the checkpoint came from."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from .auxiliary_files import MAX_CARRIED_BYTES, LeftBehind, other_files
from .card import LOADING, NEW_CARD, earlier_conversions, layer_table, origin_note, with_note, without_note
from .checkpoint import dtype_of
from .conversion_job import ConversionJob
from .conversion_options import ConversionOptions
from .engine.files import read_file
from .provenance import ORIGIN
from .quantisation import HF_QUANT_CONFIG
from .remote_code import missing_code
from .runtimes import RUNTIMES
from .summary import layer_summaries


CARD = "README.md"


def files_beside(job: ConversionJob, options: ConversionOptions) -> tuple[list[str], list[LeftBehind]]:
    """The files beside the weights, as (names to carry along, what stays behind unless it is written anew)."""
    folder = job.source.folder
    carried, not_carried = other_files(folder, job.source.weights.files)
    if options.dequantise and HF_QUANT_CONFIG in carried:
        carried.remove(HF_QUANT_CONFIG)
        not_carried.append(LeftBehind(HF_QUANT_CONFIG, "describes numbers that are dequantised"))
    if (folder / ORIGIN).exists():
        reason = "describes another model than this" if job.back is None else "config.json is again what it says"
        not_carried.append(LeftBehind(ORIGIN, reason))
    if job.back is not None and card_without_note(folder, carried) == NEW_CARD:
        carried.remove(CARD)
        not_carried.append(LeftBehind(CARD, "written by hetero convert, there was none"))
    if job.back is not None:
        known = {left.name for left in not_carried}
        missing = [name for name in missing_code(job.back.config_dict) if name not in known]
        not_carried += [LeftBehind(name, "remote code, it is where the checkpoint was published") for name in missing]
    return carried, not_carried


def card_without_note(folder: Path, carried: Sequence[str]) -> str | None:
    """The card that is there as it was before a conversion."""
    card = card_of(folder, carried) if CARD in carried else None
    return None if card is None else without_note(card)


def card_of(folder: Path, carried: Sequence[str]) -> str | None:
    """The model card, as it begins where there is none; `None` where it is no text."""
    if CARD not in carried:
        return NEW_CARD
    try:
        return read_file(folder / CARD, MAX_CARRIED_BYTES, folder).decode("utf-8")
    except UnicodeDecodeError:
        return None


def card_text(job: ConversionJob, carried: list[str], origin: str) -> dict[str, str]:
    """The model card with a note, or on the way back without one."""
    card = card_of(job.source.folder, carried)
    if card is None:
        return {}
    if job.back is not None:
        return {CARD: without_note(card)} if CARD in carried else {}
    return {CARD: with_note(without_note(card), "\n".join([*earlier_conversions(card), note_on(job, origin)]))}


def note_on(job: ConversionJob, origin: str) -> str:
    """Where a checkpoint came from, how it is loaded, who else reads it and what its layers are, in Markdown."""
    family, config = job.source.published.family, job.source.config
    itemsize = getattr(torch, dtype_of(config)).itemsize
    table = layer_table(list(layer_summaries(family, config, family.tensors(config), itemsize)))
    loading = [] if job.output.write_config is not None else [LOADING]
    programs = [str(runtime) for runtime in RUNTIMES if not runtime.cannot(job.output.name, config)]
    read_by = [f"Read by {', '.join(programs)}."] if programs else []
    return "\n\n".join([origin_note(origin, job.source.published.name, job.output.name), *loading, *read_by, table])


def origin_text(job: ConversionJob) -> dict[str, str]:
    """The file that says where the output came from. What is in the format of its origin is that origin."""
    if job.cut_origin is not None and job.back is None:
        return {ORIGIN: as_json(asdict(job.cut_origin))}
    if job.verified is None or job.back is not None or job.output.name == job.verified.origin.format:
        return {}
    members = asdict(job.verified.origin)
    del members["pruned"]
    return {ORIGIN: as_json(members)}


def as_json(members: Any) -> str:
    return json.dumps(members, indent=2) + "\n"
