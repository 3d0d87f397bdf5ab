"""
Checkpoints that describe layers which differ under one of transformers' own model types. AutoConfig believes the type: with the
package imported it hands such a config over to the family that reads it, and no other.
"""

import functools
import sys
from collections.abc import Iterable, Mapping
from contextvars import ContextVar
from typing import Any

from .at_import import at_import
from .trl import by_layer


# Lists by layer of published checkpoints that no family reads, or not every one
UNREAD = ("layer_head_num", "layer_inter_size", "per_layer_num_experts", "num_experts_per_layer")
asked_by_auto: ContextVar[bool] = ContextVar("asked_by_auto", default=False)


def follow_parents(configs: Iterable[Any]) -> None:
    """Let the configs of the families' parents be followed, when they are imported."""
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES, model_type_to_module_name

    for config in configs:
        if "text_config" in config.sub_configs:
            build_stock_around(config)
    families = [config for config in configs if config.model_type not in getattr(config, "published_model_types", ())]
    readers = {model_type: family for family in families for model_type in family.compatible_model_types}
    note_auto()
    for model_type, name in ((each, CONFIG_MAPPING_NAMES[each]) for each in readers if each in CONFIG_MAPPING_NAMES):
        folder = model_type_to_module_name(model_type)
        module = f"transformers.models.{folder}.configuration_{folder}"
        at_import(module, functools.partial(hand_over, module, name, readers[model_type]))


@functools.cache
def build_stock_around(config: Any) -> None:
    """Let the Auto classes build the parent's own models of a config that differs from the parent's in its text model alone."""
    from transformers.models.auto import modeling_auto
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    parent = CONFIG_MAPPING[config.compatible_model_types[0]]
    mappings = [getattr(each, "_model_mapping", None) for each in vars(modeling_auto).values()]
    stock = [(mapping, mapping[parent]) for mapping in mappings if mapping is not None and parent in mapping]
    for mapping, model_class in stock:
        mapping.register(config, model_class, exist_ok=True)
    for module in {sys.modules[model_class.__module__] for _, model_class in stock}:
        if hasattr(module, "load_balancing_loss_func"):
            vars(module)["load_balancing_loss_func"] = by_layer(module.load_balancing_loss_func)


@functools.cache
def note_auto() -> None:
    """Let a config know that it is AutoConfig that reads it."""
    from transformers.models.auto.configuration_auto import AutoConfig

    auto: Any = AutoConfig
    read = auto.from_pretrained.__func__

    @functools.wraps(read)
    def from_pretrained(cls: Any, *args: Any, **kwargs: Any) -> Any:
        token = asked_by_auto.set(True)
        try:
            return read(cls, *args, **kwargs)
        finally:
            asked_by_auto.reset(token)

    auto.from_pretrained = classmethod(from_pretrained)


def hand_over(module: str, name: str, family: Any) -> None:
    """Let `from_dict` of a parent's config return the family's where the layers differ, for AutoConfig; by itself it is refused,
    since the parent's models would build another model. Those around a text model build what its config says."""
    parent: Any = vars(sys.modules[module])[name]
    read = parent.from_dict.__func__

    def from_dict(cls: type[Any], /, config_dict: Mapping[str, Any], **kwargs: Any) -> Any:
        form = "" if cls is not parent else form_of(config_dict)
        if form and (
            asked_by_auto.get() or "text_config" in family.sub_configs
        ):  # the parent's models have a text model of any class
            return family.from_dict(config_dict, **kwargs)
        if form:
            raise ValueError(
                f"a {parent.model_type} whose layers differ ({form}), which {cls.__name__} does not read: load it with "
                f"AutoConfig and AutoModel..., or with {family.__name__} and the models that have it"
            )
        unread = unread_lists(config_dict) if cls is parent else []
        if unread:
            raise ValueError(
                f"{' and '.join(unread)} of a {parent.model_type}: the layers differ, and nothing reads how. {cls.__name__} would "
                "pass over it and build another model"
                + "; `hetero infer` reads sizes off the weights"
                * ("text_config" not in config_dict)
            )
        return read(cls, config_dict, **kwargs)

    functools.update_wrapper(from_dict, read)
    parent.from_dict = classmethod(from_dict)


def unread_lists(config_dict: Mapping[str, Any]) -> list[str]:
    """Lists by layer that nobody reads: beside other models, not in the forms that text models alone are published in either."""
    from ..configuration_heterogeneous import PUBLISHED_LAYERS

    text_config = config_dict.get("text_config")
    if not isinstance(text_config, dict):
        return [name for name in UNREAD if isinstance(config_dict.get(name), list)]
    names = (*UNREAD, *sorted(PUBLISHED_LAYERS))
    return [name for name in names if isinstance(config_dict.get(name, text_config.get(name)), list)]


def form_of(config_dict: Mapping[str, Any]) -> str:
    """The published form in which a config of one of transformers' types describes its layers; "" where that type reads it."""
    from ..converters.formats.recognition import FORMATS

    model_type = config_dict.get("model_type")
    name = next((each.name for each in FORMATS if each.recognises(config_dict)), model_type)
    return form_of_text(config_dict.get("text_config")) if name == model_type else str(name)


def form_of_text(text_config: Any) -> str:
    """The same of a text model beside others."""
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    if not isinstance(text_config, dict):
        return ""
    model_type = text_config.get("model_type")
    if model_type in CONFIG_MAPPING and hasattr(CONFIG_MAPPING[model_type], "per_layer_sizes"):
        return f'text_config of model_type "{model_type}"'
    return "per_layer_config in text_config" * (text_config.get("per_layer_config") is not None)
