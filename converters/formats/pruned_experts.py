"""
Qwen's models from which experts were pruned, in each layer its own number: `per_layer_num_experts` or `num_experts_per_layer`
has an entry for each layer, which counts for those that have experts. All else is the base model's. The form is not written:
programs that know neither field would take `num_experts`.
"""

from collections.abc import Mapping
from typing import Any

from transformers_heterogeneous.configuration_heterogeneous import HeterogeneousConfigError

from .expression import without
from .parents import parent_formats
from .published_format import PublishedFormat


LISTS = ("per_layer_num_experts", "num_experts_per_layer")


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
    return {**without(config_dict, *LISTS, "num_local_experts"), "num_experts": counts[0]}


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
    )


FORMATS = tuple(
    pruned_experts(parent)
    for parent in parent_formats()
    if "num_experts" in parent.family.config_class.per_layer_sizes
)
