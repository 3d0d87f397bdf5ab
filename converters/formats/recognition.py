"""Which format a checkpoint is in, and its config."""

from collections.abc import Iterable, Iterator, Mapping
from copy import deepcopy
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

from huggingface_hub.errors import StrictDataclassError

from transformers_heterogeneous.configuration_heterogeneous import MAX_LAYERS, HeterogeneousPreTrainedConfig

from .. import formats
from ..engine.errors import CheckpointError, refuse, refuse_loops
from ..engine.json_objects import read_object
from ..families import found_modules
from ..families.family import Family
from .expression import without
from .native import registered_family, registered_format, registered_parent_formats
from .published_format import PublishedFormat


# Names that weights may have as their dtype
DTYPES = ("bfloat16", "float16", "float32", "float64")
# Numbers of which a config may have lists, and a family shapes for each. No more experts are read than layers
COUNTS = ("num_hidden_layers", "num_local_experts", "n_routed_experts", "num_experts")
# Sizes that every model has, or that are left out
POSITIVE = (
    *("hidden_size", "vocab_size", "num_hidden_layers", "num_attention_heads", "head_dim", "attention_head_dim"),
    *("mamba_n_heads", "mamba_d_head", "mamba_d_conv", "mamba_n_groups", "mamba_expand"),
    *("mamba_num_heads", "mamba_head_dim", "conv_kernel", "n_groups"),
)
OBJECTS = ("quantization_config", "rope_parameters", "rope_scaling")
# Saved by older releases of transformers, which compute it now
OUTDATED = ("use_return_dict",)
# What a config says of the file it came from and not of the model
PROVENANCE = ("_name_or_path", "architectures", "auto_map", "base_architecture", "model_type", "transformers_version")
# What transformers raises at values that a config cannot have; of wrong types it does not always know
UNREADABLE = (
    StrictDataclassError,
    ArithmeticError,
    AttributeError,
    LookupError,
    RecursionError,
    TypeError,
    ValueError,
)


def read_config(path: Path, to: str | None = None) -> tuple[PublishedFormat, dict[str, Any]]:
    """
    The config.json of a checkpoint, and the format that it is in.

    Args:
        path: The folder, or the file itself.
        to: What it is to be converted to, "" where nothing is named; `None` where it is only read.

    Raises:
        CheckpointError: where there is none, or it is of no known format; names those that are known. Where several families
            read it, and it is to be converted to none of them; names these.
    """
    refuse_loops(path)
    if not path.exists():
        raise CheckpointError(
            f"{path}: no such file or folder",
            remedy="A checkpoint on the hub is named ORG/NAME.",
        )
    file = config_file(path)
    config_dict = read_object(file, path if path.is_dir() else None)
    return recognise(config_dict, str(file), to), config_dict


def config_file(path: Path) -> Path:
    """The config.json of a folder; a file is its own."""
    return path / "config.json" if path.is_dir() else path


def recognise(config_dict: Mapping[str, Any], source: str, to: str | None = None) -> PublishedFormat:
    """The first format that recognises a config; a `CheckpointError` names them all where none does. Somebody else's family
    comes behind the package's own, but where it is what the checkpoint is to be converted to."""
    if not isinstance(model_type := config_dict.get("model_type"), str | None):
        raise CheckpointError(f"{source}: model_type = {model_type!r}: a string is needed")
    known_formats = () if to and registered_family(to) else FORMATS
    for published in known_formats:
        if published.recognises(config_dict):
            return published
    if registered := registered_format(config_dict, to):
        return registered
    if isinstance(config_dict.get("text_config"), dict):
        raise CheckpointError(
            f"{source}: a {model_type}, whose text model is one of several: inspected, converted and pruned are checkpoints of text "
            "models alone",
            remedy="A Qwen3-VL is loaded by AutoModelForImageTextToText; per_layer_config in its text_config leaves sub-blocks out "
            "on the way, keep_layers takes layers out, and save_pretrained writes what is left.",
        )
    found = {name: config_dict.get(name) for name in ("model_type", "architectures")}
    known = [f"{published.name}: {published.looks_like}" for published in FORMATS]
    raise CheckpointError(f"{source}: of no known format ({found}). Known are", known)


def family_config(published: PublishedFormat, config_dict: Mapping[str, Any], source: str) -> Any:
    """
    A published config as the family's config object.

    Raises:
        CheckpointError: names the layers and fields that are wrong or that the family cannot express.
    """
    read = published.family.config_class.without_unread_fields(config_dict)
    dropped = {*PROVENANCE, *OUTDATED} - {"model_type"}  # which says how strictly other fields are judged
    members = {name: value for name, value in read.items() if name not in dropped}
    if not members.get("quantization_config", True):
        del members["quantization_config"]  # as good as none
    refuse(source, [*dtype_problems(members), *count_problems(members), *value_problems(members)])
    try:
        published.family.config_class.refuse_other_models(config_dict)
        members = members if published.read_config is None else published.read_config(members)
        config = (published.config_class or published.family.config_class).from_dict(deepcopy(members))
    except UNREADABLE as error:
        reason = str(error.__cause__ or error) or type(error).__name__
        raise CheckpointError(f"{source}: cannot be read as {published.name}:", reason.splitlines()) from error
    config.architectures = [published.family.architecture]
    return config


def told_config(published: PublishedFormat, config_dict: Mapping[str, Any], source: str) -> tuple[Any, dict[str, Any]]:
    """The same for those who only tell of a config: without the fields that may describe layers and that nobody reads, and
    these."""
    try:
        return family_config(published, config_dict, source), {}
    except CheckpointError as error:
        unread = getattr(error.__cause__, "fields", ())
        if not unread:
            raise
    config, more = told_config(published, without(config_dict, *unread), source)
    return config, {**{name: config_dict[name] for name in unread}, **more}


def model_fields(config: HeterogeneousPreTrainedConfig) -> dict[str, Any]:
    """What a family's config says of the model. A size of sub-blocks that no layer has says nothing, nor where it came from,
    nor how blocks are computed."""
    absent = {name for name in config.per_layer_sizes if not any(config.layers_with(name))} | {"fused_blocks"}
    fields = config.to_dict().items()
    return {name: value for name, value in fields if name not in PROVENANCE and name not in absent}


def dtype_problems(config_dict: Mapping[str, Any]) -> Iterator[str]:
    """Fields that name the dtype of the weights and name none."""
    for name in ("dtype", "torch_dtype"):
        value = config_dict.get(name)
        if value is not None and value not in DTYPES:
            yield f"{name} = {value!r}: one of {', '.join(DTYPES)} is needed"


def value_problems(config_dict: Mapping[str, Any]) -> Iterator[str]:
    """Sizes that no model has, and what is no object and needs to be one: what transformers has no words for."""
    for name in POSITIVE:
        value = config_dict.get(name)
        if type(value) is int and value <= 0:
            yield f"{name} = {value}: a positive integer is needed"
    for name in OBJECTS:
        value = config_dict.get(name)
        if value is not None and not isinstance(value, dict):
            yield f"{name} = {value!r}: an object is needed"


def count_problems(config_dict: Mapping[str, Any]) -> Iterator[str]:
    """Layers and experts, wherever they are counted, that are too many to be listed."""
    members: list[tuple[str, Any]] = list(config_dict.items())
    while members:
        name, value = members.pop()
        if isinstance(value, dict):
            members += value.items()
        elif isinstance(value, list):
            members += [(name, member) for member in value]
        elif name in COUNTS and type(value) is int and value > MAX_LAYERS:
            yield f"{name} = {value:,}: at most {MAX_LAYERS:,} are read"


def writable_formats(family: Family) -> list[PublishedFormat]:
    """The formats that a family's models are written in, its own left out."""
    found = [each for each in FORMATS if each.family is family and each.write_config is not None]
    return found + registered_parent_formats(family)


def found_formats() -> Iterator[PublishedFormat]:
    """What the modules of this sub-package call `FORMAT`, or `FORMATS` where it is several."""
    for module in found_modules(formats.__name__, formats.__path__):
        if module.__name__ != __name__:
            yield from getattr(module, "FORMATS", [module.FORMAT] if hasattr(module, "FORMAT") else [])


def in_order(found: Iterable[PublishedFormat]) -> tuple[PublishedFormat, ...]:
    """Formats as they are asked: each before those that it says; else by their names."""
    named: dict[str, list[PublishedFormat]] = {}
    for published in sorted(found, key=lambda each: (each.name, each.looks_like)):
        named.setdefault(published.name, []).append(published)
    order: TopologicalSorter[str] = TopologicalSorter(dict.fromkeys(named, ()))
    for name, several in named.items():
        for other in sorted({other for published in several for other in published.before}):
            order.add(other, name)
    return tuple(published for name in order.static_order() for published in named[name])


def teach_configs() -> None:
    """Let `from_dict` of the families' configs read the published formats too; doing it again changes nothing."""
    for published in FORMATS:
        config_class, own = published.family.config_class, published.config_class
        config_class.published_readers = {**config_class.published_readers, **published.readers}
        if own is not None:
            config_class.published_model_types = {*config_class.published_model_types, own.model_type}


# The first that recognises a config reads it
FORMATS = in_order(found_formats())
teach_configs()
