"""The families' own formats: what is converted to, and what `save_pretrained` writes."""

from collections.abc import Mapping
from functools import cache
from importlib.metadata import entry_points
from typing import Any

from transformers.models.auto.auto_mappings import CONFIG_MAPPING_NAMES
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers_heterogeneous.integrations.whole_package import execute_package

from ..families import family_of, found_families
from ..families.family import Family
from . import parents
from .published_format import PublishedFormat


ENTRY_POINTS = "transformers_heterogeneous.families"


def native_format(family: Family) -> PublishedFormat:
    """A family's config.json says its model type, and tensors have the family's names."""
    model_type: str = family.config_class.model_type
    return PublishedFormat(
        name=model_type,
        looks_like=f'model_type "{model_type}"',
        recognises=lambda config: config.get("model_type") == model_type,
        family=family,
        before=("anymodel", "gpt_oss", "per_layer_config"),  # which know gpt-oss by its architecture too
    )


def registered_format(config_dict: Mapping[str, Any]) -> PublishedFormat | None:
    """The format of a family of somebody else's package, which has told AutoConfig of it; or of the family's parent."""
    import_families()
    model_type = config_dict.get("model_type")
    if isinstance(model_type, str) and model_type in CONFIG_MAPPING_NAMES:
        return parent_format(model_type)
    if model_type not in CONFIG_MAPPING:
        return None
    config_class = CONFIG_MAPPING[model_type]
    return native_format(family_of(config_class)) if hasattr(config_class, "per_layer_sizes") else None


@cache
def import_families() -> None:
    """Import the packages of families that are installed: they say so by an entry point, and register when imported."""
    for found in entry_points(group=ENTRY_POINTS):
        execute_package()
        found.load()


def parent_format(model_type: str) -> PublishedFormat | None:
    """Checkpoints of a model of transformers that somebody else's family reads too, the first that is registered."""
    registered = (CONFIG_MAPPING[name] for name in CONFIG_MAPPING if name not in CONFIG_MAPPING_NAMES)
    for config_class in registered:
        if model_type in getattr(config_class, "compatible_model_types", ()):
            return parents.parent_format(family_of(config_class), model_type)
    return None


FORMATS = tuple(map(native_format, found_families()))
