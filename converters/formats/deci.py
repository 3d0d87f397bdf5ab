"""
Deci's `deci`: DeciLM-6b, DeciLM-7B and their fine-tunes.

KV heads are listed in `num_key_value_heads_per_layer`. Tensor names are Llama's.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from transformers_heterogeneous.configuration_heterogeneous_llama import HeterogeneousLlamaConfig

from ..families import family_of
from .block_fields import drop_remote_code_keys
from .expression import any_window, other_types, refuse_inexpressible, shared_fields, varying_sizes, without
from .published_format import PublishedFormat


# Fine-tunes that transformers saved again say "llama" and a false `num_key_value_heads`; the first uploads say nothing
POSSIBLE_MODEL_TYPES = ("deci", "llama", None)


def recognises(config: Mapping[str, Any]) -> bool:
    """By its list of KV heads, whatever model type stands beside it."""
    listed = "num_key_value_heads_per_layer" in config and config.get("model_type") in POSSIBLE_MODEL_TYPES
    return listed or config.get("model_type") == "deci"


def read(config_class: Any, config_dict: Mapping[str, Any]) -> dict[str, Any]:
    """A config as the family has it. Fine-tunes of DeciLM-6b carry a false `num_key_value_heads` beside the list."""
    name = "num_key_value_heads_per_layer"
    rest = drop_remote_code_keys(config_class, without(config_dict, name))
    return {**rest, "num_key_value_heads": config_dict[name]}


def problems(config: HeterogeneousLlamaConfig) -> Iterator[str]:
    yield from other_types(config, "mixer_types", ("attention",))
    yield from other_types(config, "mlp_types", ("dense",))
    yield from varying_sizes(config, allowed=("num_key_value_heads", "sliding_window"))
    yield from any_window(config)


def write_config(config: HeterogeneousLlamaConfig) -> dict[str, Any]:
    """Deci's config.json, of a model whose layers differ in KV heads alone."""
    refuse_inexpressible("deci", problems(config))
    fields = without(shared_fields(config, "deci", "DeciLMForCausalLM"), "num_key_value_heads", "sliding_window")
    return {**fields, "num_key_value_heads_per_layer": config.layer_sizes("num_key_value_heads")}


class DeciConfig(HeterogeneousLlamaConfig):
    """Reads the config of a published `deci` checkpoint; what it returns is a [`HeterogeneousLlamaConfig`]."""

    model_type = "deci"

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs: Any) -> Any:
        return HeterogeneousLlamaConfig.from_dict(config_dict, **kwargs)


FORMAT = PublishedFormat(
    name="deci",
    looks_like='model_type "deci", "llama" or none with num_key_value_heads_per_layer',
    recognises=recognises,
    family=family_of(HeterogeneousLlamaConfig),
    config_class=DeciConfig,
    readers={"num_key_value_heads_per_layer": read},
    before=("anymodel", "anymodel_v2", "llama", "per_layer_config"),
    dropped={"*.rotary_emb.inv_freq": "buffer of rotary embeddings, computed from the config"},
    write_config=write_config,
)
