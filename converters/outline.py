"""What the caller wants of a conversion, and all that is known of it before the first byte is written."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from .agreement import quantised_tensors
from .card import LOADING, NEW_CARD, earlier_conversions, layer_table, origin_note, with_note, without_note
from .carried import MAX_CARRIED_BYTES, LeftBehind, other_files
from .checkpoint import Checkpoint
from .engine.errors import CheckpointError, refuse
from .engine.files import read_file
from .engine.layout import Experts, Regrouped, cast_all, dequantise_all, regroup, scales_of_activations
from .engine.pieces import DTYPES, TensorPlan
from .engine.plan import (
    NamedTensor,
    WeightsPlan,
    in_files,
    in_shards,
    inverted,
    plan_weights,
    renamed,
    sources_of,
    with_names,
)
from .engine.quantised import COMPUTABLE, module_in
from .engine.transfer import Link
from .engine.weights import INDEX
from .formats import recognition
from .formats.published_format import PublishedFormat
from .fusion import with_fused_blocks
from .origin import ORIGIN, Past, as_it_was, origins_of, past_of
from .quantisation import HF_QUANT_CONFIG, Translation, modules_of, read_hf_quant_config, with_words
from .readers import READERS, Reader
from .remote_code import missing_code, with_code
from .summary import layer_summaries
from .thinning import empty_layers, without_empty_layers, without_sub_blocks


CARD = "README.md"
WITHOUT_READER = "Choose another format with --to, or leave out --for to write it all the same."
# Fields of published configs that are read into others of the family's config, `mixer_types` and `rope_parameters` among them
TRANSLATED = (
    *(
        "hybrid_override_pattern",
        "mtp_hybrid_override_pattern",
        "attention_head_dim",
        "norm_eps",
        "rms_norm_eps",
        "rope_scaling",
        "rope_theta",
        "torch_dtype",
    ),
    "quantization_config",
)


@dataclass(frozen=True)
class Wishes:
    """What the caller wants, as `convert` describes it; `max_shard_size` in bytes."""

    to: str | None
    link: Link
    experts: Experts
    dtype: str | None
    dequantise: bool
    max_shard_size: int | None
    skip: Sequence[str]
    drop_empty_layers: bool
    fuse: Sequence[str]
    with_code: bool | Path
    reader: Reader | None = None


@dataclass(frozen=True)
class Outline:
    """
    A conversion before its first byte.

    Attributes:
        source: The checkpoint, without what is left out of it.
        output: The format to write.
        config: The output's config.json.
        weights: The files with tensors.
        texts: Files that are written anew, by their names; config.json is the last.
        restored: Whether the output is what the source was converted from, config.json byte for byte.
        dropped_layers: Those that held nothing and are taken out, by their numbers in the source.
        dropped_fields: Those of the published config that are nowhere in the family's.
        carried: Files of the source that are copied.
        not_carried: Files that are not.
    """

    source: Checkpoint
    output: PublishedFormat
    config: dict[str, Any]
    weights: WeightsPlan
    texts: dict[str, str]
    restored: bool
    dropped_layers: tuple[int, ...]
    dropped_fields: tuple[str, ...]
    carried: tuple[str, ...]
    not_carried: tuple[LeftBehind, ...]


@dataclass(frozen=True)
class Prepared:
    """
    A checkpoint and the format that it is to be written in.

    Attributes:
        source: Without what is left out of it.
        past: What it was converted from, or is where it is published, if that still holds.
        back: What it was converted from, where the output is to be that again.
        fused_layout: Whether the norms of fused blocks are to lie beside the weights of their MLPs.
    """

    source: Checkpoint
    output: PublishedFormat
    dropped_layers: tuple[int, ...]
    past: Past | None
    back: Past | None
    fused_layout: bool

    @property
    def names(self) -> dict[str, str]:
        """Beginnings of tensor names, the family's -> those to write."""
        if self.back is not None:
            return inverted(self.back.origin.names)
        names = self.output.names if self.output.written_names is None else self.output.written_names
        fused = self.source.published.family.fused_names(self.source.config) if self.fused_layout else {}
        return {**inverted(names), **inverted(fused)}

    def experts(self, wished: Experts) -> Experts:
        """How experts are to lie."""
        return self.back.origin.experts if self.back is not None and wished == "keep" else wished


def outline(source: Checkpoint, origin: str, wishes: Wishes) -> Outline:
    """
    Plan a conversion.

    Args:
        origin: What the model card calls the source.
    """
    job = prepared(source, wishes)
    regrouped = regroup(job.source.tensors, job.source.groups, job.experts(wishes.experts))
    weights = plan_output(job, regrouped, wishes)
    quantisation = {} if wishes.dequantise else quantisation_configs(job, regrouped)
    config = output_config(job, quantisation.pop("config.json", None), wishes.reader)
    folder = None if isinstance(wishes.with_code, bool) else wishes.with_code
    config, code = with_code(config, source.published.family, folder) if wishes.with_code else (config, {})
    carried, not_carried = companions(job, wishes)
    texts = {**card_text(job, carried, origin), **code, **origin_text(job)}
    texts |= {name: as_json(members) for name, members in quantisation.items()}
    if job.back is not None and job.back.hf_quant_config is not None:
        texts[HF_QUANT_CONFIG] = job.back.hf_quant_config
    texts |= {INDEX: as_json(weights.index)} if weights.index is not None else {}
    texts["config.json"] = as_json(config) if job.back is None else job.back.origin.config
    return Outline(
        source=job.source,
        output=job.output,
        config=config,
        weights=weights,
        texts=texts,
        restored=job.back is not None,
        dropped_layers=job.dropped_layers,
        dropped_fields=lost_fields(source) if job.back is None else (),
        carried=tuple(carried),
        not_carried=tuple(left for left in not_carried if left.name not in texts),
    )


def prepared(source: Checkpoint, wishes: Wishes) -> Prepared:
    """Leave out what is to be left out, and look where the checkpoint came from."""
    thinned = without_sub_blocks(source, wishes.skip)
    output = output_format(source.published, thinned.config, wishes.to, wishes.reader)
    check_wishes(source, output, wishes)
    origins = [] if wishes.dequantise else list(origins_of(source))
    shorter = without_empty_layers(thinned) if wishes.drop_empty_layers else thinned
    dropped_layers = tuple(empty_layers(thinned.config)) if wishes.drop_empty_layers else ()
    pasts = [past for origin in origins if (past := past_of(shorter, origin)) is not None]
    back = next((past for past in pasts if leads_back(past, shorter, output, wishes)), None)
    final = with_fused_blocks(shorter, wishes.fuse) if back is None else as_it_was(shorter, back)
    return Prepared(final, output, dropped_layers, pasts[0] if pasts else None, back, bool(wishes.fuse))


def leads_back(past: Past, source: Checkpoint, output: PublishedFormat, wishes: Wishes) -> bool:
    """Whether the output is to be what the source was converted from, byte for byte."""
    regrouped = wishes.experts not in ("keep", past.origin.experts)
    names_change = regrouped and source.method is not None  # of the modules in the quantisation config
    return output.name == past.origin.format and not wishes.drop_empty_layers and not names_change


def origin_text(job: Prepared) -> dict[str, str]:
    """The file that says where the output came from. What is in the format of its origin is that origin."""
    if job.past is None or job.back is not None or job.output.name == job.past.origin.format:
        return {}
    return {ORIGIN: as_json(asdict(job.past.origin))}


def companions(job: Prepared, wishes: Wishes) -> tuple[list[str], list[LeftBehind]]:
    """The files beside the weights, as (names to carry along, what stays behind unless it is written anew)."""
    folder = job.source.folder
    carried, not_carried = other_files(folder, job.source.weights.files)
    if wishes.dequantise and HF_QUANT_CONFIG in carried:
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


def check_wishes(source: Checkpoint, output: PublishedFormat, wishes: Wishes) -> None:
    """Raise a `CheckpointError` where the checkpoint is not one that they can be carried out on."""
    if wishes.with_code and output.write_config is not None:
        raise CheckpointError(
            f"--with-code: the code that is there reads {source.config.model_type}, not {output.name}",
            remedy="Leave out --to, or --with-code.",
        )
    if wishes.fuse and output.write_config is not None:
        raise CheckpointError(
            f"--fuse: {output.name} has no words for fused blocks", remedy="Leave out --to, or --fuse."
        )
    if wishes.dequantise and source.method is None:
        raise CheckpointError(
            f"{source.folder}: cannot be dequantised: this checkpoint is not quantised",
            remedy="Leave out --dequantise.",
        )
    if source.method not in (None, *COMPUTABLE):
        check_untouched(source, wishes)


def check_untouched(source: Checkpoint, wishes: Wishes) -> None:
    """Raise a `CheckpointError` that names the tensors of a method not known here which would be computed or cut up."""
    family, config = source.published.family, source.config
    heading = f"{source.folder}: quantised by {source.method!r}, whose tensors are renamed or left alone, and no more"
    if wishes.dequantise:
        known = ", ".join(COMPUTABLE)
        raise CheckpointError(
            f"{heading}: they cannot be dequantised, known are {known}", remedy="Leave out --dequantise."
        )
    quantised = sorted(quantised_tensors(source.tensors, family, config))
    if wishes.experts != "keep":
        modules = {module_in(name, 3) for stack, names in source.groups.items() for name in (stack, *names)}
        experts = [name for name in quantised if module_in(name, len(source.tensors[name].shape)) in modules]
        refuse(heading, (f"{name!r} cannot be stacked or split" for name in experts), remedy="Leave out --experts.")
    if wishes.dtype is not None:
        after = cast_all({name: source.tensors[name] for name in quantised}, wishes.dtype, family.buffers(config))
        changed = [name for name, tensor in after.items() if tensor is not source.tensors[name]]
        refuse(heading, (f"{name!r} cannot be cast" for name in changed), remedy="Leave out --dtype.")


def output_format(published: PublishedFormat, config: Any, to: str | None, reader: Reader | None) -> PublishedFormat:
    """
    The format to write: the one that is named, else one that `reader` takes, else the family's own.

    Raises:
        CheckpointError: where checkpoints of this family cannot be written so; names the formats that can.
    """
    own = PublishedFormat(config.model_type, "", lambda found: False, published.family)
    writable = [
        each for each in recognition.FORMATS if each.family is published.family and each.write_config is not None
    ]
    if to is None and reader is not None:
        return format_for(reader, [own, *writable], config)
    if to is None or to == own.name:
        return next((each for each in recognition.FORMATS if each.name == own.name), own)
    if chosen := next((each for each in writable if each.name == to), None):
        return chosen
    known = [own.name, *(each.name for each in writable)]
    raise CheckpointError(f"to = {to!r}: {published.name} can be written as {', '.join(known)}")


def format_for(reader: Reader, writable: Sequence[PublishedFormat], config: Any) -> PublishedFormat:
    """The format in which a program reads a model: one that transformers has itself before those that are NVIDIA's alone."""
    read = [each for each in writable if each.name in reader.problems]
    problems = []
    for each in sorted(read, key=lambda each: each.config_class is not None):
        if not (found := inexpressible(each, config) or reader.cannot(each.name, config)):
            return each
        problems += [f"as {each.name}: {problem}" for problem in found]
    known = (
        []
        if read
        else [f"it reads {', '.join(reader.problems)}, and {config.model_type} can be written as none of them"]
    )
    raise CheckpointError(f"{reader} reads this model in no format:", problems or known)


def inexpressible(output: PublishedFormat, config: Any) -> list[str]:
    """What a format has no words for."""
    if output.write_config is None:  # the family's own
        return []
    try:
        output.write_config(config)
    except CheckpointError as error:
        return [line.strip() for line in str(error).splitlines()[1:-1]]
    return []


def with_numbers(tensors: Mapping[str, TensorPlan], source: Checkpoint, wishes: Wishes) -> Mapping[str, TensorPlan]:
    """The tensors with the numbers that they are to have: the last step, since what is computed cannot be cut up."""
    if wishes.dequantise:
        assert source.method is not None  # as `check_wishes` has seen
        tensors = dequantise_all(tensors, source.method, DTYPES[dtype_of(source.config)])
    if wishes.dtype is None:
        return tensors
    return cast_all(tensors, wishes.dtype, source.published.family.buffers(source.config))


def dtype_of(config: Any) -> str:
    """The dtype that a config names, as torch calls it; bfloat16 where it names none."""
    return str(getattr(config, "dtype", None) or "bfloat16").removeprefix("torch.")


def plan_output(job: Prepared, regrouped: Regrouped, wishes: Wishes) -> WeightsPlan:
    """The files of the output that hold tensors."""
    source = job.source
    numbers = with_numbers(regrouped.tensors, source, wishes)
    tensors = list(with_names(numbers.values(), job.names))
    file_of = job.output.file_of
    if file_of is not None and wishes.max_shard_size:
        raise CheckpointError(
            f"max_shard_size: {job.output.name} prescribes the files that tensors lie in",
            remedy="Leave out --max-shard-size.",
        )
    if wishes.max_shard_size:
        files = in_shards(tensors, wishes.max_shard_size)
    elif file_of is not None:
        files = in_files(tensors, lambda tensor: file_of(tensor.name, source.config))
    else:
        files = in_files(tensors, lambda tensor: tensor.file)
    gone = activations(regrouped, source, wishes)
    left = {(tensor.name, tensor.file) for tensor in gone}
    unused = tuple(tensor for tensor in source.unused.values() if (tensor.name, tensor.file) not in left)
    return plan_weights(files, source.weights, (*source.dropped, *gone), unused)


def activations(regrouped: Regrouped, source: Checkpoint, wishes: Wishes) -> tuple[NamedTensor, ...]:
    """The scales that dequantised weights leave behind."""
    if not wishes.dequantise or source.method != "modelopt":
        return ()
    reason = "scale of activations or of the cache, which are not quantised any more"
    return tuple(sources_of(scales_of_activations(regrouped.tensors), reason))


def quantisation_configs(job: Prepared, regrouped: Regrouped) -> dict[str, dict[str, Any]]:
    """
    Name of a file -> what it says of the quantisation, with the modules under their names in the output. What comes back
    as it was is not among them.

    Raises:
        CheckpointError: names every file, field and module that cannot follow.
    """
    source, back = job.source, job.back
    found = {
        "config.json": source.config_dict.get("quantization_config") if back is None else None,
        HF_QUANT_CONFIG: None if back and back.hf_quant_config else read_hf_quant_config(source.folder),
    }
    written = ((renamed(name, job.names), name, tensor) for name, tensor in regrouped.tensors.items())
    target = modules_of(written, source.groups)
    translated = {}
    for name, members in found.items():
        if members:
            method = source.method if name == "config.json" else "modelopt"
            place = "quantization_config" if name == "config.json" else ""
            names = Translation(source.modules, target, method or "", partial(module_out, job))
            translated[name] = names.config(members, place)
            refuse(f"{source.folder / name}: names of modules cannot follow", names.problems)
    return translated


def module_out(job: Prepared, pattern: str) -> str:
    """What a module of the source, or a pattern of such, may be called in the output; "" of what is not there any more."""
    return with_words(job.source.module_in(pattern), job.names)


def output_config(job: Prepared, quantisation: dict[str, Any] | None, reader: Reader | None) -> dict[str, Any]:
    """The config.json to write."""
    name, model = job.output.name, job.source.config
    config = written_config(job)
    if reader is not None:
        problems = reader.cannot(name, model)
        refuse(f"{job.source.folder}: cannot be written for {reader}", problems, remedy=WITHOUT_READER)
    if job.back is not None:
        return config
    config = config if reader is None else reader.config(name, model, config)
    config = {name: value for name, value in config.items() if name != "quantization_config"}
    return config if quantisation is None else {**config, "quantization_config": quantisation}


def written_config(job: Prepared) -> dict[str, Any]:
    """The config.json of the output's format: as it was published, where it is that again."""
    if job.back is not None:
        return job.back.config_dict
    if job.output.write_config is not None:
        return job.output.write_config(job.source.config)
    members: dict[str, Any] = json.loads(job.source.config.to_json_string())
    return members


def card_of(folder: Path, carried: Sequence[str]) -> str | None:
    """The model card, as it begins where there is none; `None` where it is no text."""
    if CARD not in carried:
        return NEW_CARD
    try:
        return read_file(folder / CARD, MAX_CARRIED_BYTES, folder).decode("utf-8")
    except UnicodeDecodeError:
        return None


def card_text(job: Prepared, carried: list[str], origin: str) -> dict[str, str]:
    """The model card with a note, or on the way back without one."""
    card = card_of(job.source.folder, carried)
    if card is None:
        return {}
    if job.back is not None:
        return {CARD: without_note(card)} if CARD in carried else {}
    return {CARD: with_note(without_note(card), "\n".join([*earlier_conversions(card), note_on(job, origin)]))}


def note_on(job: Prepared, origin: str) -> str:
    """Where a checkpoint came from, how it is loaded, who else reads it and what its layers are, in Markdown."""
    family, config = job.source.published.family, job.source.config
    itemsize = getattr(torch, dtype_of(config)).itemsize
    table = layer_table(list(layer_summaries(family, config, itemsize)))
    loading = [] if job.output.write_config is not None else [LOADING]
    programs = [str(reader) for reader in READERS if not reader.cannot(job.output.name, config)]
    read_by = [f"Read by {', '.join(programs)}."] if programs else []
    return "\n\n".join([origin_note(origin, job.source.published.name, job.output.name), *loading, *read_by, table])


def lost_fields(source: Checkpoint) -> tuple[str, ...]:
    """The fields of a published config that are neither in the family's nor translated into others of its fields, and
    those that its own models do not read."""
    read = source.published.family.config_class.without_unread_fields(source.config_dict)
    translated = (*TRANSLATED, *source.published.readers)
    return tuple(
        name
        for name, value in sorted(source.config_dict.items())
        if (name not in translated and not hasattr(source.config, name)) or (name not in read and value is not None)
    )


def as_json(members: Any) -> str:
    return json.dumps(members, indent=2) + "\n"
