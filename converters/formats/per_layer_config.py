"""
transformers' own form: the parent's config.json, and in `per_layer_config` what is different in which layer, with the
sub-blocks that a layer does not have under `skip`.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from transformers_heterogeneous.configuration_heterogeneous import HeterogeneousPreTrainedConfig

from . import gpt_oss, granitemoehybrid, nemotron_h
from .expression import most_common, other_types, refuse_inexpressible
from .parents import kinds, parent_fields, parent_formats, window_problems
from .published_format import PublishedFormat


def write_config(
    parent_fields: Callable[[Any], dict[str, Any]],
    problems: Callable[[Any], Iterator[str]],
    skipped: Callable[[Any], list[list[str]]],
    config: HeterogeneousPreTrainedConfig,
) -> dict[str, Any]:
    """The parent's config.json, its sizes those that most layers have, and the layers that differ from them."""
    refuse_inexpressible("per_layer_config", problems(config))
    fields = parent_fields(config)
    sizes = {name: most_common(config.layer_sizes(name), fields.get(name)) for name in config.per_layer_sizes}
    digits = len(str(config.num_hidden_layers - 1))
    overrides: dict[str, dict[str, Any]] = {
        f"{layer_idx:0{digits}}": {} for layer_idx in range(config.num_hidden_layers)
    }
    for name in sizes:
        layers = zip(overrides.values(), config.layer_sizes(name), config.layers_with(name), strict=True)
        for override, size, has in layers:
            # That a layer has no window is said by `layer_types`
            if has and size != sizes[name] and not (size is None and name == "sliding_window"):
                override[name] = size
    for override, skip in zip(overrides.values(), skipped(config), strict=True):
        if skip:
            override["skip"] = sorted(skip)
    return {
        **fields,
        **sizes,
        "per_layer_config": {layer: override for layer, override in overrides.items() if override},
    }


def linear_problems(config: HeterogeneousPreTrainedConfig) -> Iterator[str]:
    yield from other_types(config, "mixer_types", (*kinds(config.supported_mixer_types), "none"))
    yield from other_types(config, "mlp_types", (*kinds(config.supported_mlp_types), "none"))
    yield from window_problems(config)


def granite_problems(config: Any) -> Iterator[str]:
    kinds = ("moe", "none") if "moe" in config.mlp_types else ("dense", "none")
    yield from other_types(config, "mlp_types", kinds)


def no_problems(config: HeterogeneousPreTrainedConfig) -> Iterator[str]:
    """All that the family can say can be said."""
    yield from ()


def skipped(config: HeterogeneousPreTrainedConfig) -> list[list[str]]:
    """The sub-blocks that each layer does not have."""
    found: list[list[str]] = config.skipped_sub_blocks()
    return found


def skipped_of_hybrids(config: Any) -> list[list[str]]:
    """The same where `layer_types`, which has no word for a layer without a mixer, calls it after the others."""
    mixers = ["mamba" if kind == "linear_attention" else "attention" for kind in config.layer_types]
    layers = zip(mixers, skipped(config), strict=True)
    return [[mixer if name == "attention" else name for name in names] for mixer, names in layers]


def skipped_whole(config: HeterogeneousPreTrainedConfig) -> list[list[str]]:
    """The same where a layer has one sub-block at most, and is called an MLP where it has none."""
    return [["mlp"] if names else [] for names in skipped(config)]


def per_layer(
    parent: PublishedFormat,
    parent_fields: Callable[[Any], dict[str, Any]],
    problems: Callable[[Any], Iterator[str]],
    skipped: Callable[[Any], list[list[str]]] = skipped,
) -> PublishedFormat:
    """The form of a parent."""
    return PublishedFormat(
        name="per_layer_config",
        looks_like=f'model_type "{parent.name}" with per_layer_config',
        recognises=lambda config: parent.recognises(config) and config.get("per_layer_config") is not None,
        family=parent.family,
        before=("gpt_oss_puzzle", parent.name),
        dropped=parent.dropped,
        names=parent.names,
        written_names=parent.written_names,
        write_config=partial(write_config, parent_fields, problems, skipped),
    )


FORMATS = (
    *(per_layer(each, parent_fields, linear_problems) for each in parent_formats()),
    per_layer(gpt_oss.FORMAT, gpt_oss.parent_fields, no_problems),
    per_layer(granitemoehybrid.FORMAT, granitemoehybrid.parent_fields, granite_problems, skipped_of_hybrids),
    per_layer(nemotron_h.FORMAT, nemotron_h.parent_fields, no_problems, skipped_whole),
)
