"""What the caller wants of a conversion, and all that is known of it before the first byte is written."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from . import formats
from .card import origin_note, with_note
from .carried import LeftBehind, other_files
from .checkpoint import Checkpoint
from .errors import CheckpointError
from .family import PublishedFormat
from .layout import Experts, Regrouped, cast_all, dequantise_all, regroup
from .pieces import TensorPlan
from .plan import WeightsPlan, in_files, in_shards, inverted, plan_weights, renamed, with_names
from .quantisation import HF_QUANT_CONFIG, module_names, read_hf_quant_config, rename_modules
from .rendering import DTYPES
from .transfer import Link
from .weights import INDEX


CARD = "README.md"
# Fields of published configs that are read into others of the family's config, `mixer_types` and `rope_parameters` among them
TRANSLATED = ("block_configs", "num_key_value_heads_per_layer", "rope_scaling", "rope_theta", "torch_dtype")


@dataclass(frozen=True)
class Wishes:
    """What the caller wants, as `convert` describes it; `max_shard_size` in bytes."""

    to: str | None
    link: Link
    experts: Experts
    dtype: str | None
    dequantise: bool
    max_shard_size: int | None


@dataclass(frozen=True)
class Outline:
    """
    A conversion before its first byte.

    Attributes:
        source: The checkpoint.
        output: The format to write.
        config: The output's config.json.
        weights: The files with tensors.
        texts: Files that are written anew, by their names; config.json is the last.
        dropped_fields: Those of the published config that are nowhere in the family's.
        carried: Files of the source that are copied.
        not_carried: Files that are not.
    """

    source: Checkpoint
    output: PublishedFormat
    config: dict[str, Any]
    weights: WeightsPlan
    texts: dict[str, str]
    dropped_fields: tuple[str, ...]
    carried: tuple[str, ...]
    not_carried: tuple[LeftBehind, ...]


def outline(source: Checkpoint, origin: str, wishes: Wishes) -> Outline:
    """
    Plan a conversion.

    Args:
        origin: What the model card calls the source.
    """
    check_wishes(source, wishes)
    output = output_format(source.published, source.config, wishes.to)
    regrouped = regroup(source.tensors, source.groups, wishes.experts)
    quantisation = quantisation_configs(source, output, regrouped, wishes)
    config = output_config(source, output, quantisation.pop("config.json", None))
    weights = plan_output(source, output, regrouped, wishes)
    carried, not_carried = companions(source, wishes)
    note = origin_note(origin, source.published.name, output.name)
    texts = card_text(source.folder, carried, note)
    texts |= {name: as_json(members) for name, members in quantisation.items()}
    texts |= {INDEX: as_json(weights.index)} if weights.index is not None else {}
    texts["config.json"] = as_json(config)
    return Outline(source, output, config, weights, texts, lost_fields(source), tuple(carried), tuple(not_carried))


def companions(source: Checkpoint, wishes: Wishes) -> tuple[list[str], list[LeftBehind]]:
    """The files beside the weights, as (names to carry along, what stays behind)."""
    carried, not_carried = other_files(source.folder, source.weights.files)
    if wishes.dequantise and HF_QUANT_CONFIG in carried:
        carried.remove(HF_QUANT_CONFIG)
        not_carried.append(LeftBehind(HF_QUANT_CONFIG, "describes numbers that are dequantised"))
    return carried, not_carried


def check_wishes(source: Checkpoint, wishes: Wishes) -> None:
    """Raise a `CheckpointError` where the checkpoint is not one that they can be carried out on."""
    if wishes.dequantise and source.method != "mxfp4":
        found = f"quantised by {source.method}" if source.method else "not quantised"
        raise CheckpointError(f"{source.folder}: only MXFP4 can be dequantised, this checkpoint is {found}")


def output_format(published: PublishedFormat, config: Any, to: str | None) -> PublishedFormat:
    """
    The format to write: the family's own, or the one that is named.

    Raises:
        CheckpointError: where checkpoints of this family cannot be written so; names the formats that can.
    """
    own = PublishedFormat(config.model_type, "", lambda found: False, published.family)
    if to is None or to == own.name:
        return next((each for each in formats.FORMATS if each.name == own.name), own)
    writable = [each for each in formats.FORMATS if each.family is published.family and each.write_config is not None]
    if chosen := next((each for each in writable if each.name == to), None):
        return chosen
    known = [own.name, *(each.name for each in writable)]
    raise CheckpointError(f"to = {to!r}: {published.name} can be written as {', '.join(known)}")


def names_of(output: PublishedFormat) -> dict[str, str]:
    """Beginnings of tensor names, the family's -> those to write."""
    return inverted(output.names if output.written_names is None else output.written_names)


def with_numbers(tensors: Mapping[str, TensorPlan], source: Checkpoint, wishes: Wishes) -> Mapping[str, TensorPlan]:
    """The tensors with the numbers that they are to have: the last step, since what is computed cannot be cut up."""
    if wishes.dequantise:
        tensors = dequantise_all(tensors, DTYPES[dtype_of(source.config)])
    return tensors if wishes.dtype is None else cast_all(tensors, wishes.dtype, source.published.family.buffers)


def dtype_of(config: Any) -> str:
    """The dtype that a config names, as torch calls it; bfloat16 where it names none."""
    return str(getattr(config, "dtype", None) or "bfloat16").removeprefix("torch.")


def plan_output(source: Checkpoint, output: PublishedFormat, regrouped: Regrouped, wishes: Wishes) -> WeightsPlan:
    """The files of the output that hold tensors."""
    numbers = with_numbers(regrouped.tensors, source, wishes)
    tensors = list(with_names(numbers.values(), names_of(output)))
    file_of = output.file_of
    if file_of is not None and wishes.max_shard_size:
        raise CheckpointError(f"max_shard_size: {output.name} prescribes the files that tensors lie in")
    if wishes.max_shard_size:
        files = in_shards(tensors, wishes.max_shard_size)
    elif file_of is not None:
        files = in_files(tensors, lambda tensor: file_of(tensor.name, source.config))
    else:
        files = in_files(tensors, lambda tensor: tensor.file)
    return plan_weights(files, source.weights, source.dropped, tuple(source.unused.values()))


def quantisation_configs(
    source: Checkpoint, output: PublishedFormat, regrouped: Regrouped, wishes: Wishes
) -> dict[str, dict[str, Any]]:
    """Name of a file -> what it says of the quantisation, with the modules under their names in the output."""
    found = {
        "config.json": source.config_dict.get("quantization_config"),
        HF_QUANT_CONFIG: read_hf_quant_config(source.folder),
    }
    rename = module_names(
        partial(renamed, beginnings=source.published.names),
        partial(renamed, beginnings=names_of(output)),
        regrouped.were_split,
        regrouped.were_stacked,
    )
    kept = {name: members for name, members in found.items() if members and not wishes.dequantise}
    return {name: rename_modules(members, rename) for name, members in kept.items()}


def output_config(source: Checkpoint, output: PublishedFormat, quantisation: dict[str, Any] | None) -> dict[str, Any]:
    """The config.json to write."""
    if output.write_config is not None:
        config = output.write_config(source.config)
    else:
        config = json.loads(source.config.to_json_string())
    config = {name: value for name, value in config.items() if name != "quantization_config"}
    return config if quantisation is None else {**config, "quantization_config": quantisation}


def card_text(folder: Path, carried: list[str], note: str) -> dict[str, str]:
    """The model card with a note, where there is a card that can be read."""
    if CARD not in carried:
        return {}
    try:
        card = (folder / CARD).read_bytes().decode("utf-8")
    except UnicodeDecodeError:
        return {}
    return {CARD: with_note(card, note)}


def lost_fields(source: Checkpoint) -> tuple[str, ...]:
    """The fields of a published config that are neither in the family's nor translated into others of its fields."""
    return tuple(
        sorted(name for name in source.config_dict if name not in TRANSLATED and not hasattr(source.config, name))
    )


def as_json(members: Any) -> str:
    return json.dumps(members, indent=2) + "\n"
