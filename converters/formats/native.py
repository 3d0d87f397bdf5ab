"""The families' own formats: what is converted to, and what `save_pretrained` writes."""

from collections.abc import Mapping
from copy import deepcopy
from functools import cache, partial
from importlib.metadata import entry_points
from itertools import chain
from typing import Any

from transformers import MODEL_FOR_CAUSAL_LM_MAPPING
from transformers.models.auto.auto_mappings import CONFIG_MAPPING_NAMES
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers_heterogeneous.configuration_heterogeneous import LAYER_LISTS
from transformers_heterogeneous.integrations.whole_package import execute_package

from ..engine.errors import CheckpointError
from ..families import PACKAGE, family_of, found_families
from ..families.family import Family
from .expression import other_types, refuse_inexpressible, shared_fields, varying_sizes
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
        before=(
            "anymodel",
            "anymodel_v2",
            "gpt_oss",
            "per_layer_config",
        ),  # which know gpt-oss by its architecture too
    )


def registered_format(config_dict: Mapping[str, Any], to: str | None = None) -> PublishedFormat | None:
    """The format of a family of somebody else's package, which has told AutoConfig of it; or of the family's parent."""
    model_type = config_dict.get("model_type")
    if not isinstance(model_type, str):
        return None
    if family := registered_family(model_type):
        return native_format(family)
    families = [each for each in registered_families() if model_type in each.config_class.compatible_model_types]
    named = [each for each in families if each.config_class.model_type == to]
    if to is not None and len(families) > 1 and not named:
        names = ", ".join(each.config_class.model_type for each in families)
        raise CheckpointError(
            f"checkpoints of {model_type} are read by several families: {names}", remedy="Name one of them with --to."
        )
    return next((registered_parent_format(model_type, each) for each in named or families), None)


def registered_families() -> list[Family]:
    """Those of other packages, by their names."""
    import_families()
    types = sorted(name for name in CONFIG_MAPPING if name not in CONFIG_MAPPING_NAMES)
    classes = [CONFIG_MAPPING[name] for name in types]
    others = [each for each in classes if each.__module__.partition(".")[0] != PACKAGE]
    return [family_of(each) for each in others if hasattr(each, "per_layer_sizes")]


def registered_family(model_type: str) -> Family | None:
    return next((each for each in registered_families() if each.config_class.model_type == model_type), None)


@cache
def import_families() -> None:
    """Import the packages of families that are installed: they say so by an entry point, and register when imported."""
    for found in entry_points(group=ENTRY_POINTS):
        execute_package()
        found.load()


def registered_parent_format(model_type: str, family: Family) -> PublishedFormat:
    """Checkpoints of a model of transformers that somebody else's family reads too, and writes where its layers are alike."""
    return PublishedFormat(
        name=model_type,
        looks_like=f'model_type "{model_type}"',
        recognises=lambda config: config.get("model_type") == model_type,
        family=family,
        write_config=partial(write_parent, model_type, family),
    )


def write_parent(model_type: str, family: Family, config: Any) -> dict[str, Any]:
    """The parent's config.json of a model that the parent can be: one that the family reads as the same."""
    refuse_inexpressible(
        model_type,
        chain(
            other_types(config, "mixer_types", {*config.supported_mixer_types} - {"none"}),
            other_types(config, "mlp_types", {*config.supported_mlp_types} - {"none"}),
            varying_sizes(config),
        ),
    )
    parent = CONFIG_MAPPING[model_type]
    fields = shared_fields(config, model_type, MODEL_FOR_CAUSAL_LM_MAPPING[parent].__name__)
    if "layer_types" in parent.__dataclass_fields__:
        fields["layer_types"] = list(config.layer_types)
    kept = {name: value for name, value in fields.items() if name not in ("model_type", "architectures")}
    read = family.config_class.from_dict(deepcopy(kept)).to_dict()
    lists = ((name, value, read.get(name)) for name, value in config.to_dict().items())
    refuse_inexpressible(
        model_type,
        (
            f"{name} = {value}: {model_type} would have {other}"
            for name, value, other in lists
            if name in {*LAYER_LISTS, *config.per_layer_sizes} and value != other
        ),
    )
    written: dict[str, Any] = {**parent.from_dict(deepcopy(kept)).to_dict(), "architectures": fields["architectures"]}
    return written


def registered_parent_formats(family: Family) -> list[PublishedFormat]:
    """The formats of the parents of somebody else's family."""
    if family in found_families():
        return []
    return [registered_parent_format(name, family) for name in family.config_class.compatible_model_types]


FORMATS = tuple(map(native_format, found_families()))
