"""What loads a checkpoint as it is, by its config."""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers.models.auto.auto_mappings import CONFIG_MAPPING_NAMES
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers_heterogeneous.configuration_heterogeneous import HeterogeneousPreTrainedConfig
from transformers_heterogeneous.integrations.auto_classes import UNREAD

from .checkpoint import check_head, read_checkpoint
from .engine.errors import CheckpointError
from .engine.weights import INDEX, SINGLE
from .families import found_families
from .formats.published_format import PublishedFormat
from .formats.recognition import UNREADABLE
from .quantisation import read_hf_quant_config
from .tensor_checks import CUT


AUTO_CLASS = "AutoModelForCausalLM"


@dataclass(frozen=True)
class Loading:
    """
    How a checkpoint is loaded.

    Attributes:
        loads_with: The class whose `from_pretrained` reads it, `None` where it has to be converted first.
        loading_note: Why it is that one, or what to do; `None` where nothing is to be said.
    """

    loads_with: str | None
    loading_note: str | None


def loading_of(
    published: PublishedFormat, config_dict: Mapping[str, Any], config: HeterogeneousPreTrainedConfig, path: Path
) -> Loading:
    """
    What loads a checkpoint, by its config.

    Args:
        config: The same as the family has it.
        path: Its folder, where ModelOpt's file may stand, or the config.json in it.
    """
    model_type, own_class = config_dict.get("model_type"), published.family.architecture
    is_transformers = model_type in CONFIG_MAPPING_NAMES
    if algorithm := modelopt_algorithm(config_dict, path):
        return Loading(None, quantised_note(algorithm, own_class, model_type if is_transformers else None))
    if published.parts is not None:
        return Loading(None, f"no class has its tensors as {published.name} lays them out: `hetero convert SRC DST`")
    if model_type is None:
        return Loading(own_class, f"without a model_type in config.json {AUTO_CLASS} asks for remote code, or refuses")
    if is_transformers and published.name == model_type and not is_read_alike(config_dict, config):
        return Loading(own_class, f"{AUTO_CLASS} believes the model_type and takes transformers' own {model_type}")
    return Loading(AUTO_CLASS, None)


def compared_with_tensors(loading: Loading, config_dict: Mapping[str, Any], path: Path) -> Loading:
    """The same after a look at the headers of the weights, where they are there: what does not fit the config is loaded by
    nothing, and parts of a tensor only by what knows them."""
    if loading.loads_with is None or not path.is_dir() or not any((path / name).exists() for name in (SINGLE, INDEX)):
        return loading
    try:
        check_head(config_dict, str(path))
    except CheckpointError:
        return loading  # another architecture's tensors, which are not known here
    try:
        checkpoint = read_checkpoint(path, by_scales=True)
    except CheckpointError as error:
        lines = str(error).splitlines()
        cut = f". {CUT}" if lines[-1] == CUT else ""
        return Loading(
            None, f"its weights are not what config.json describes: {' '.join(map(str.strip, lines[:2]))}{cut}"
        )
    if any(len(tensor.pieces) > 1 for tensor in checkpoint.tensors.values()):
        return Loading(None, "its experts lie one by one: `hetero convert` puts them together")
    return loading


def unread_loading(unread: Mapping[str, Any], config_dict: Mapping[str, Any]) -> Loading:
    """What is to be known of a checkpoint whose config has fields that may describe layers and that nobody reads."""
    said = ", ".join(f"{name} = {str(value)[:60]}" for name, value in unread.items())
    model_type = config_dict.get("model_type")
    followed = any(model_type in family.config_class.compatible_model_types for family in found_families())
    refuses = followed and any(isinstance(unread.get(name), list) for name in UNREAD)
    does = "refuses it" if refuses else "would pass over it"
    passed_over = f", and {AUTO_CLASS} {does}" if model_type in CONFIG_MAPPING_NAMES else ""
    own_code = "; its own code may (trust_remote_code=True)" if config_dict.get("auto_map") else ""
    return Loading(None, f"nobody here reads {said}: all of this is of the model without it{passed_over}{own_code}")


def is_read_alike(config_dict: Mapping[str, Any], config: HeterogeneousPreTrainedConfig) -> bool:
    """Whether transformers' own config, which has one size for all layers, says the same sizes. It passes over some, as
    `attention_head_dim` of the first Nemotron-H."""
    try:
        theirs = CONFIG_MAPPING[config_dict["model_type"]].from_dict(deepcopy(dict(config_dict)))
    except UNREADABLE:
        return False
    sizes = [name for name in config.per_layer_sizes if any(config.layers_with(name))]
    compared = [name for name in ("head_dim", *sizes) if name not in config.optional_per_layer_sizes]
    return all(getattr(theirs, name, None) == getattr(config, name, None) for name in compared)


def quantised_note(algorithm: str, own_class: str, model_type: str | None) -> str:
    """
    What to do with weights that ModelOpt quantised.

    Args:
        model_type: Where transformers has a class of its own for it.
    """
    believed = f" ({AUTO_CLASS} takes transformers' own {model_type}, which does not know their scales)"
    return (
        f"its weights are ModelOpt's {algorithm}, which {own_class} refuses{believed if model_type else ''}: "
        "`hetero convert --dequantise SRC DST` makes bf16 of them, which loads"
    )


def modelopt_algorithm(config_dict: Mapping[str, Any], path: Path) -> str | None:
    """How ModelOpt quantised the weights of a checkpoint, as it calls it itself, in config.json or in its own file."""
    said = config_dict.get("quantization_config") or {}
    if said.get("quant_method") == "modelopt" and said.get("quant_algo"):
        return str(said["quant_algo"])
    own = read_hf_quant_config(path if path.is_dir() else path.parent) or {}
    algorithm = (own.get("quantization") or {}).get("quant_algo")
    return None if algorithm is None else str(algorithm)
