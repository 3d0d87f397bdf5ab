"""
Checkpoints that say the model type of a family's parent, one of transformers' own: their layers are all alike, but for what the
parent itself lets differ. A parent of which there is more to know has a file here that is named after its type.
"""

from collections.abc import Iterable, Iterator
from dataclasses import fields
from functools import cache
from pkgutil import iter_modules
from typing import Any

from transformers_heterogeneous.configuration_heterogeneous import HeterogeneousPreTrainedConfig, transformers_class

from .. import formats
from ..families import found_families
from ..families.family import Family, causal_class
from .expression import other_types, refuse_inexpressible, shared_fields, varying_sizes, without
from .published_format import PublishedFormat


def parent_of(config_class: Any) -> Any:
    """The config class in transformers whose checkpoints a family reads."""
    return transformers_class(config_class.compatible_model_types[0])


def parent_fields(config: Any) -> dict[str, Any]:
    """The fields that are the parent's too."""
    parent = parent_of(type(config))
    theirs = {each.name for each in fields(parent)}
    ours = {each.name for each in fields(type(config))} - theirs
    found = without(shared_fields(config, parent.model_type, causal_class(parent)), *ours)
    dense = [layer_idx for layer_idx, mlp in enumerate(config.mlp_types) if mlp == "dense"]
    said = {"layer_types": list(config.layer_types), "mlp_only_layers": dense, "decoder_sparse_step": 1}
    return {**found, **{name: value for name, value in said.items() if name in theirs}}


def window_problems(config: HeterogeneousPreTrainedConfig) -> Iterator[str]:
    """Windows of which the parent knows none, one for all layers, or one beside layers without, which it tells apart by their
    `layer_types`."""
    names = {each.name for each in fields(parent_of(type(config)))}
    windows = config.windows
    if windows is None:
        return
    if "sliding_window" not in names:
        yield f"sliding_window = {windows}: this format has no windows"
        return
    attends = config.layers_with("sliding_window")
    found = {window for window, has in zip(config.layer_sizes("sliding_window"), attends, strict=True) if has}
    if "layer_types" in names:
        found -= {None}
    if len(found) > 1:
        yield f"sliding_window = {windows}: one value for all layers is needed"


def kinds(types: Iterable[str]) -> tuple[str, ...]:
    """What layers of the parent are made of, of what those of a family may be."""
    return tuple(kind for kind in types if kind not in ("linear", "none"))


def problems(config: Any) -> Iterator[str]:
    yield from other_types(config, "mixer_types", kinds(config.supported_mixer_types))
    yield from other_types(config, "mlp_types", kinds(config.supported_mlp_types))
    yield from varying_sizes(config, allowed=("sliding_window",))
    yield from window_problems(config)


def write_config(config: Any) -> dict[str, Any]:
    """The parent's config.json."""
    model_type = type(config).compatible_model_types[0]
    refuse_inexpressible(model_type, problems(config))
    return parent_fields(config)


def parent_format(family: Family, model_type: str) -> PublishedFormat:
    """The form of a family's parent."""
    return PublishedFormat(
        name=model_type,
        looks_like=f'model_type "{model_type}"',
        recognises=lambda config: config.get("model_type") == model_type,
        family=family,
        dropped={"*.rotary_emb.inv_freq": "buffer of rotary embeddings, computed from the config"},
        write_config=write_config,
    )


@cache
def parent_formats() -> tuple[PublishedFormat, ...]:
    """Those of the package's families, without the parents that have a file of their own here."""
    told = {module.name for module in iter_modules(formats.__path__)}
    parents = [(family, family.config_class.compatible_model_types[0]) for family in found_families()]
    return tuple(parent_format(family, model_type) for family, model_type in parents if model_type not in told)


FORMATS = parent_formats()
