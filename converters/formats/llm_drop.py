"""
LLM-Drop's `llama` and `mistral`: models of which some layers do without attention or MLP.

`drop_attn_list` and `drop_mlp_list` name the layers, or have a yes or no for each. The norm before a dropped block is dropped
with it; the weights of both are in the files all the same. The form cannot be written: without the code that it comes with,
transformers would build the whole model of it, with random weights where blocks were dropped.
"""

from collections.abc import Mapping
from typing import Any

from transformers_heterogeneous.configuration_heterogeneous import HeterogeneousConfigError

from .block_fields import stated
from .expression import without
from .parents import parent_formats
from .published_format import PublishedFormat


PARENTS = ("llama", "mistral")
# List of layers -> the family's list, and what a layer has there that is not dropped
LISTS = {"drop_attn_list": ("mixer_types", "attention"), "drop_mlp_list": ("mlp_types", "dense")}


def has_lists(config: Mapping[str, Any]) -> bool:
    """Whether it has one of the lists. Where both are null or empty, the checkpoint is a plain one."""
    return any(config.get(name) for name in LISTS)


def read(config_class: Any, config_dict: Mapping[str, Any]) -> dict[str, Any]:
    """A config as the family has it."""
    num_layers = stated(config_class, config_dict).num_hidden_layers
    dropped = {name: config_dict.get(name) or [] for name in LISTS}
    if errors := [error for name, layers in dropped.items() for error in list_errors(name, layers, num_layers)]:
        raise HeterogeneousConfigError("\n".join(errors))
    types = {
        own: ["none" if gone else kind for gone in flags(dropped[name], num_layers)]
        for name, (own, kind) in LISTS.items()
    }
    return {**unskipped(config_dict), **types}


def list_errors(name: str, layers: Any, num_layers: int) -> list[str]:
    """What is wrong with a list of layers."""
    if isinstance(layers, list) and layers and all(isinstance(layer, bool) for layer in layers):
        wrong = len(layers) != num_layers
    else:
        wrong = not isinstance(layers, list) or any(not is_layer(layer, num_layers) for layer in layers)
    needed = f"a list of layers, 0 to {num_layers - 1}, or of {num_layers} times true or false is needed"
    return [f"{name} = {str(layers)[:100]}: {needed}"] if wrong else []


def is_layer(number: Any, num_layers: int) -> bool:
    return isinstance(number, int) and not isinstance(number, bool) and 0 <= number < num_layers


def flags(layers: list[Any], num_layers: int) -> list[bool]:
    """Whether each layer is dropped, of either form of a list."""
    if layers and isinstance(layers[0], bool):
        return layers
    numbers = set(layers)
    return [layer_idx in numbers for layer_idx in range(num_layers)]


def unskipped(config_dict: Mapping[str, Any]) -> dict[str, Any]:
    """The config of the whole model."""
    return without(config_dict, *LISTS, "auto_map")


def llm_drop(parent: PublishedFormat) -> PublishedFormat:
    """The form of a parent."""
    return PublishedFormat(
        name="llm_drop",
        looks_like=f'model_type "{parent.name}" with drop_attn_list or drop_mlp_list',
        recognises=lambda config: parent.recognises(config) and has_lists(config),
        family=parent.family,
        readers=dict.fromkeys(LISTS, read),
        before=("anymodel", "anymodel_v2", "deci", "per_layer_config", parent.name),
        dropped=parent.dropped,
        unskipped=unskipped,
    )


FORMATS = tuple(llm_drop(parent) for parent in parent_formats() if parent.name in PARENTS)
