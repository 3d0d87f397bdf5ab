"""Which format a checkpoint is in, and its config."""

from collections.abc import Iterator, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

from huggingface_hub.errors import StrictDataclassError

from . import deci, heterogeneous_llama, llama, nemotron_nas
from .errors import CheckpointError, refuse
from .family import PublishedFormat
from .json_objects import read_object


# The first that recognises a config reads it: the `llama` of DeciLM fine-tunes is `deci`
FORMATS = (heterogeneous_llama.FORMAT, nemotron_nas.FORMAT, deci.FORMAT, llama.FORMAT)
# Names that weights may have as their dtype
DTYPES = ("bfloat16", "float16", "float32", "float64")
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
            remedy="A checkpoint on the hub is downloaded with `hf download ID --local-dir FOLDER`.",
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
    refuse(source, dtype_problems(members))
    try:
        config = published.family.config_class.from_dict(deepcopy(members))
    except UNREADABLE as error:
        reason = str(error.__cause__ or error) or type(error).__name__
        raise CheckpointError(f"{source}: cannot be read as {published.name}:", reason.splitlines()) from error
    refuse(f"{source}: holds values that no model can be built with", published.family.problems(config))
    config.architectures = [published.family.architecture]
    return config


def dtype_problems(config_dict: Mapping[str, Any]) -> Iterator[str]:
    """Fields that name the dtype of the weights and name none."""
    for name in ("dtype", "torch_dtype"):
        value = config_dict.get(name)
        if value is not None and value not in DTYPES:
            yield f"{name} = {value!r}: one of {', '.join(DTYPES)} is needed"
