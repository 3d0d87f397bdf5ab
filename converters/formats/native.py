"""The families' own formats: what is converted to, and what `save_pretrained` writes."""

from ..families import found_families
from ..families.family import Family
from .published_format import PublishedFormat


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


FORMATS = tuple(map(native_format, found_families()))
