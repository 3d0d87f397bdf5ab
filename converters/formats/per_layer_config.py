"""
transformers' own form: the parent's config.json, and in `per_layer_config` what is different in which layer, with the
sub-blocks that a layer does not have under `skip`.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from . import gpt_oss, granitemoehybrid, llama, nemotron_h
from .expression import most_common, other_types, refuse_inexpressible
from .published_format import PublishedFormat


def write_config(
    parent_fields: Callable[[Any], dict[str, Any]],
    problems: Callable[[Any], Iterator[str]],
    skipped: Callable[[Any, int], list[str]],
    config: Any,
) -> dict[str, Any]:
    """The parent's config.json, its sizes those that most layers have, and the layers that differ from them."""
    refuse_inexpressible("per_layer_config", problems(config))
    fields = parent_fields(config)
    sizes = {name: most_common(config.layer_sizes(name), fields.get(name)) for name in config.per_layer_sizes}
    digits = len(str(config.num_hidden_layers - 1))
    overrides = {
        f"{layer_idx:0{digits}}": override
        for layer_idx in range(config.num_hidden_layers)
        if (override := layer_override(config, layer_idx, sizes, skipped(config, layer_idx)))
    }
    return {**fields, **sizes, "per_layer_config": overrides}


def layer_override(config: Any, layer_idx: int, sizes: dict[str, Any], skip: list[str]) -> dict[str, Any]:
    """What is different in a layer. That one has no window is said by `layer_types`."""
    here = {name: config.layer_sizes(name)[layer_idx] for name in sizes if config.layers_with(name)[layer_idx]}
    override = {
        name: size
        for name, size in here.items()
        if size != sizes[name] and not (size is None and name == "sliding_window")
    }
    return {**override, "skip": sorted(skip)} if skip else override


def llama_problems(config: Any) -> Iterator[str]:
    yield from other_types(config, "mixer_types", ("attention", "none"))
    yield from other_types(config, "mlp_types", ("dense", "none"))
    if config.sliding_window is not None:
        yield f"sliding_window = {config.sliding_window}: Llama has no windows"


def granite_problems(config: Any) -> Iterator[str]:
    kinds = ("moe", "none") if "moe" in config.mlp_types else ("dense", "none")
    yield from other_types(config, "mlp_types", kinds)


def no_problems(config: Any) -> Iterator[str]:
    """All that the family can say can be said."""
    yield from ()


def skipped(config: Any, layer_idx: int) -> list[str]:
    """The sub-blocks that a layer does not have."""
    found: list[str] = config.skipped_sub_blocks(layer_idx)
    return found


def skipped_of_hybrids(config: Any, layer_idx: int) -> list[str]:
    """The same where `layer_types`, which has no word for a layer without a mixer, calls it after the others."""
    kinds = {"attention": "mamba" if config.layer_types[layer_idx] == "linear_attention" else "attention"}
    return [kinds.get(name, name) for name in skipped(config, layer_idx)]


def skipped_whole(config: Any, layer_idx: int) -> list[str]:
    """The same where a layer has one sub-block at most, and is called an MLP where it has none."""
    return ["mlp"] if nemotron_h.sub_block(config, layer_idx) == "none" else []


def per_layer(
    parent: PublishedFormat,
    parent_fields: Callable[[Any], dict[str, Any]],
    problems: Callable[[Any], Iterator[str]],
    skipped: Callable[[Any, int], list[str]] = skipped,
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
    per_layer(llama.FORMAT, llama.parent_fields, llama_problems),
    per_layer(gpt_oss.FORMAT, gpt_oss.parent_fields, no_problems),
    per_layer(granitemoehybrid.FORMAT, granitemoehybrid.parent_fields, granite_problems, skipped_of_hybrids),
    per_layer(nemotron_h.FORMAT, nemotron_h.parent_fields, no_problems, skipped_whole),
)
