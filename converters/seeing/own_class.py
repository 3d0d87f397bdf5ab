"""Which checkpoints are transformers' own: read by a class of transformers as they are, and no family's."""

from pathlib import Path
from typing import Any

import transformers
from transformers.models.auto.auto_mappings import CONFIG_MAPPING_NAMES

from ..engine.errors import CheckpointError
from ..engine.json_objects import read_object
from ..formats.recognition import config_file, family_config, read_config
from ..loading import AUTO_CLASS, loading_of


def is_stock(path: Path) -> bool:
    """
    Whether a folder or config.json is of a model of transformers whose layers differ at most as its own class lets them.

    Raises:
        CheckpointError: where it can be read by nobody.
    """
    try:
        published, config_dict = read_config(path)
    except CheckpointError:
        members = read_object(config_file(path))
        if members.get("model_type") in CONFIG_MAPPING_NAMES and "auto_map" not in members:
            return True  # a model that no family here is made of
        raise
    if config_dict.get("model_type") != published.name or published.name not in CONFIG_MAPPING_NAMES:
        return False
    config = family_config(published, config_dict, str(config_file(path)))
    return loading_of(published, config_dict, config, path).loads_with == AUTO_CLASS and not config.is_heterogeneous


def own_config(path: Path) -> tuple[Any, Any] | None:
    """The config of a stock model as transformers reads it, and the class that it names; `None` of others."""
    if not is_stock(path):
        return None
    config = transformers.AutoConfig.from_pretrained(path)
    named = (getattr(transformers, each, None) for each in config.architectures or ())
    return config, next(filter(None, named), None) or maker_of(config)


def maker_of(config: Any) -> Any:
    """What makes a model of a config that names no class: of text if there is one, else of text and images, else without a
    head."""
    classes = (transformers.AutoModelForCausalLM, transformers.AutoModelForImageTextToText)
    found = (each for each in classes if type(config) in each._model_mapping)
    return next(found, transformers.AutoModel).from_config
