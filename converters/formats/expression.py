"""What the writers of published configs have in common: the fields that parent and family share, and refusals."""

import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from transformers_heterogeneous.configuration_heterogeneous import HeterogeneousPreTrainedConfig

from ..engine.errors import CheckpointError


# What only the families' configs say
OURS = ("mixer_types", "mlp_types", "layer_types", "fused_blocks")


def shared_fields(config: HeterogeneousPreTrainedConfig, model_type: str, architecture: str) -> dict[str, Any]:
    """A family's config as a dict, under another model type and without what only the families say."""
    fields = json.loads(config.to_json_string(use_diff=False))
    fields = {name: value for name, value in fields.items() if name not in OURS and not name.startswith("_")}
    return {**fields, "architectures": [architecture], "model_type": model_type}


def refuse_inexpressible(format_name: str, problems: Iterable[str]) -> None:
    """Raise a `CheckpointError` with all that a format cannot express, if there is something."""
    if found := list(problems):
        raise CheckpointError(f"cannot be written as {format_name}:", found, remedy="Choose another format with --to.")


def varying_sizes(config: HeterogeneousPreTrainedConfig, allowed: Collection[str] = ()) -> Iterator[str]:
    """Sizes that differ between layers, where one for all of them is needed."""
    for name in config.per_layer_sizes:
        value = getattr(config, name)
        if isinstance(value, list) and name not in allowed:
            yield f"{name} = {value}: one value for all layers is needed"


def other_types(config: HeterogeneousPreTrainedConfig, name: str, allowed: Collection[str]) -> Iterator[str]:
    """Layers that are made of something that the format does not have."""
    for layer_idx, layer_type in enumerate(getattr(config, name)):
        if layer_type not in allowed:
            yield f"{name}[{layer_idx}] is {layer_type!r}, allowed are {list(allowed)}"


def any_window(config: HeterogeneousPreTrainedConfig) -> Iterator[str]:
    """A window, where all layers attend to everything."""
    if config.sliding_window is not None:
        yield f"sliding_window = {config.sliding_window}: this format has no windows"


def without(fields: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """The other fields."""
    return {name: value for name, value in fields.items() if name not in names}


def most_common(values: Iterable[Any], default: Any = None) -> Any:
    """The value that most layers have, the first of them where several are as common; `None` does not count."""
    found = [value for value in values if value is not None]
    return max(found, key=found.count, default=default)
