"""Checkpoints that say `llama`: Meta's own layout, whose layers are all alike."""

from collections.abc import Iterator
from typing import Any

from transformers_heterogeneous.configuration_heterogeneous_llama import HeterogeneousLlamaConfig

from ..families import family_of
from .expression import any_window, other_types, refuse_inexpressible, shared_fields, varying_sizes, without
from .published_format import PublishedFormat


def parent_fields(config: HeterogeneousLlamaConfig) -> dict[str, Any]:
    """The fields that are Llama's too."""
    return without(shared_fields(config, "llama", "LlamaForCausalLM"), "sliding_window")


def problems(config: HeterogeneousLlamaConfig) -> Iterator[str]:
    yield from other_types(config, "mixer_types", ("attention",))
    yield from other_types(config, "mlp_types", ("dense",))
    yield from varying_sizes(config, allowed=("sliding_window",))
    yield from any_window(config)


def write_config(config: HeterogeneousLlamaConfig) -> dict[str, Any]:
    """Llama's config.json, of a model whose layers are all alike."""
    refuse_inexpressible("llama", problems(config))
    return parent_fields(config)


FORMAT = PublishedFormat(
    name="llama",
    looks_like='model_type "llama"',
    recognises=lambda config: config.get("model_type") == "llama",
    family=family_of(HeterogeneousLlamaConfig),
    dropped={"*.rotary_emb.inv_freq": "buffer of rotary embeddings, computed from the config"},
    write_config=write_config,
)
