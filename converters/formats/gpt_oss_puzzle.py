"""
NVIDIA's `gpt_oss_puzzle`: gpt-oss-puzzle-88B.

`block_configs` gives each layer its number of experts and its window. Tensor names are those of gpt-oss, with scales of
a quantised KV cache beside them.
"""

from collections.abc import Iterator
from typing import Any

from transformers_heterogeneous.configuration_heterogeneous_gpt_oss import HeterogeneousGptOssConfig

from ..families.heterogeneous_gpt_oss import FAMILY
from . import gpt_oss_blocks
from .block_fields import require_blocks
from .expression import other_types, refuse_inexpressible, shared_fields, varying_sizes, without
from .published_format import PublishedFormat


PER_BLOCK = ("num_local_experts", "sliding_window")


def problems(config: Any) -> Iterator[str]:
    yield from other_types(config, "mixer_types", ("attention",))
    yield from other_types(config, "mlp_types", ("moe",))
    yield from varying_sizes(config, allowed=PER_BLOCK)


def write_config(config: Any) -> dict[str, Any]:
    """NVIDIA's config.json, of a model whose layers differ in experts and windows alone."""
    refuse_inexpressible("gpt_oss_puzzle", problems(config))
    fields = without(shared_fields(config, "gpt_oss_puzzle", "GptOssPuzzleForCausalLM"), *PER_BLOCK)
    sizes = {name: config.layer_sizes(name) for name in PER_BLOCK}
    blocks = [{name: sizes[name][layer_idx] for name in PER_BLOCK} for layer_idx in range(config.num_hidden_layers)]
    return {**fields, "block_configs": blocks, "layer_types": config.layer_types}


class GptOssPuzzleConfig(HeterogeneousGptOssConfig):  # type: ignore[misc]
    """Reads the config of a published `gpt_oss_puzzle` checkpoint; what it returns is a [`HeterogeneousGptOssConfig`]."""

    model_type = "gpt_oss_puzzle"

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs: Any) -> Any:
        require_blocks("gpt_oss_puzzle", config_dict)
        return HeterogeneousGptOssConfig.from_dict(config_dict, **kwargs)


FORMAT = PublishedFormat(
    name="gpt_oss_puzzle",
    looks_like='model_type "gpt_oss_puzzle"',
    recognises=lambda config: config.get("model_type") == "gpt_oss_puzzle",
    family=FAMILY,
    config_class=GptOssPuzzleConfig,
    readers={"block_configs": gpt_oss_blocks.read},
    before=("gpt_oss",),
    write_config=write_config,
)
