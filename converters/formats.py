"""Which format a checkpoint is in, and its config."""

from collections.abc import Iterator, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

from huggingface_hub.errors import StrictDataclassError

from . import (
    anymodel,
    deci,
    gpt_oss,
    gpt_oss_puzzle,
    granitemoehybrid,
    heterogeneous_gpt_oss,
    heterogeneous_granite_moe_hybrid,
    heterogeneous_llama,
    heterogeneous_nemotron_h,
    llama,
    nemotron_h,
    nemotron_h_puzzle,
    nemotron_nas,
    per_layer_config,
)
from .errors import CheckpointError, refuse
from .family import PublishedFormat
from .json_objects import read_object


# The first that recognises a config reads it: what says `llama` may be `deci`, AnyModel, or a form of transformers' own
FORMATS = (
    heterogeneous_llama.FORMAT,
    heterogeneous_gpt_oss.FORMAT,
    heterogeneous_granite_moe_hybrid.FORMAT,
    heterogeneous_nemotron_h.FORMAT,
    nemotron_nas.FORMAT,
    deci.FORMAT,
    *anymodel.FORMATS,
    *per_layer_config.FORMATS,
    llama.FORMAT,
    gpt_oss_puzzle.FORMAT,
    gpt_oss.FORMAT,
    granitemoehybrid.FORMAT,
    nemotron_h_puzzle.FORMAT,
    nemotron_h.FORMAT,
)
# Names that weights may have as their dtype
DTYPES = ("bfloat16", "float16", "float32", "float64")
# Numbers of which a config may have lists, and a family shapes for each
COUNTS = ("num_hidden_layers", "num_local_experts", "n_routed_experts", "num_experts")
MAX_COUNT = 4096  # eight times what any model has
# What a config says of the file it came from and not of the model
PROVENANCE = ("_name_or_path", "architectures", "auto_map", "model_type", "transformers_version")
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


def read_config(path: Path) -> tuple[PublishedFormat, dict[str, Any]]:
    """
    The config.json of a checkpoint, and the format that it is in.

    Args:
        path: The folder, or the file itself.

    Raises:
        CheckpointError: where there is none, or it is of no known format; names those that are known.
    """
    if not path.exists():
        raise CheckpointError(
            f"{path}: no such file or folder",
            remedy="A checkpoint on the hub is named ORG/NAME.",
        )
    file = path / "config.json" if path.is_dir() else path
    config_dict = read_object(file)
    return recognise(config_dict, str(file)), config_dict


def recognise(config_dict: Mapping[str, Any], source: str) -> PublishedFormat:
    """The first format that recognises a config; a `CheckpointError` names them all where none does."""
    for published in FORMATS:
        if published.recognises(config_dict):
            return published
    found = {name: config_dict.get(name) for name in ("model_type", "architectures")}
    known = [f"{published.name}: {published.looks_like}" for published in FORMATS]
    raise CheckpointError(f"{source}: of no known format ({found}). Known are", known)


def family_config(published: PublishedFormat, config_dict: Mapping[str, Any], source: str) -> Any:
    """
    A published config as the family's config object.

    Raises:
        CheckpointError: names the layers and fields that are wrong or that the family cannot express.
    """
    members = {name: value for name, value in config_dict.items() if name not in PROVENANCE}
    refuse(source, [*dtype_problems(members), *count_problems(members)])
    try:
        config = (published.config_class or published.family.config_class).from_dict(deepcopy(members))
    except UNREADABLE as error:
        reason = str(error.__cause__ or error) or type(error).__name__
        raise CheckpointError(f"{source}: cannot be read as {published.name}:", reason.splitlines()) from error
    refuse(f"{source}: holds values that no model can be built with", published.family.problems(config))
    config.architectures = [published.family.architecture]
    return config


def model_fields(config: Any) -> dict[str, Any]:
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


def count_problems(config_dict: Mapping[str, Any]) -> Iterator[str]:
    """Layers and experts, wherever they are counted, that are too many to be listed."""
    members: list[tuple[str, Any]] = list(config_dict.items())
    while members:
        name, value = members.pop()
        if isinstance(value, dict):
            members += value.items()
        elif isinstance(value, list):
            members += [(name, member) for member in value]
        elif name in COUNTS and type(value) is int and value > MAX_COUNT:
            yield f"{name} = {value:,}: at most {MAX_COUNT:,} are read"
