"""
Qwen's models from which experts were pruned, in each layer its own number: `per_layer_num_experts` or `num_experts_per_layer`
has an entry for each layer, which counts for those that have experts. All else is the base model's; its `num_experts` is the
number that there were, which some tools name a second time.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from transformers_heterogeneous.configuration_heterogeneous import HeterogeneousConfigError

from .expression import other_types, refuse_inexpressible, varying_sizes, without
from .parents import kinds, parent_fields, parent_formats, window_problems
from .published_format import PublishedFormat


LISTS = ("per_layer_num_experts", "num_experts_per_layer")
BEFORE = ("num_experts", "num_local_experts", "original_num_experts")


def read(config_class: Any, config_dict: Mapping[str, Any]) -> dict[str, Any]:
    """A config as the family has it."""
    given = {name: config_dict[name] for name in LISTS if config_dict.get(name) is not None}
    errors = [
        f"{name} = {str(value)[:100]}: a list with one number of experts a layer is needed"
        for name, value in given.items()
        if not isinstance(value, list) or any(type(entry) is not int for entry in value)
    ]
    counts = list(given.values())
    if not errors and any(count != counts[0] for count in counts):
        errors.append(f"{' and '.join(given)} contradict one another: give one of them")
    if errors:
        raise HeterogeneousConfigError("\n".join(errors))
    return {**without(config_dict, *LISTS, *BEFORE), "num_experts": counts[0]}


def problems(config: Any) -> Iterator[str]:
    yield from other_types(config, "mixer_types", kinds(config.supported_mixer_types))
    yield from other_types(config, "mlp_types", kinds(config.supported_mlp_types))
    yield from varying_sizes(config, allowed=("num_experts", "sliding_window"))
    yield from window_problems(config)
    if not isinstance(config.num_experts, list):
        yield f"num_experts = {config.num_experts} in every layer: {type(config).compatible_model_types[0]} says it"


def write_config(config: Any) -> dict[str, Any]:
    """The base model's config.json and the list. `num_experts` is the most that a layer has: what there were is not known."""
    refuse_inexpressible("pruned_experts", problems(config))
    most = max(num for num in config.num_experts if num)
    counts = [most if num is None else num for num in config.num_experts]
    return {**parent_fields(config), "num_experts": most, LISTS[0]: counts}


def pruned_experts(parent: PublishedFormat) -> PublishedFormat:
    """The form of a parent."""
    return PublishedFormat(
        name="pruned_experts",
        looks_like=f'model_type "{parent.name}" with {" or ".join(LISTS)}',
        recognises=lambda config: parent.recognises(config) and any(config.get(name) is not None for name in LISTS),
        family=parent.family,
        readers=dict.fromkeys(LISTS, read),
        before=("anymodel_v2", "per_layer_config", parent.name),
        dropped=parent.dropped,
        write_config=write_config,
    )


FORMATS = tuple(
    pruned_experts(parent)
    for parent in parent_formats()
    if "num_experts" in parent.family.config_class.per_layer_sizes
)
