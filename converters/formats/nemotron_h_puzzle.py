"""
NVIDIA's `nemotron_h_puzzle`: Nemotron-Labs-3-Puzzle-75B-A9B.

Layers are described by `block_configs`, one sub-block each. Tensor names begin with `model.` in the BF16 checkpoint and
with `backbone.` in the quantised ones, whose layers for predicting several tokens lie in a file of their own.
"""

from collections.abc import Iterator
from typing import Any

from transformers_heterogeneous.configuration_heterogeneous_nemotron_h import HeterogeneousNemotronHConfig

from ..families.family import ByLayer
from ..families.heterogeneous_nemotron_h import FAMILY
from . import nemotron_h_blocks
from .block_fields import require_blocks
from .expression import refuse_inexpressible, shared_fields, varying_sizes, without
from .nemotron_h import empty_layers, sub_block
from .published_format import PublishedFormat


# What a layer is made of -> NVIDIA's word for it, and the sizes that its block says
BLOCKS = {
    "mamba": ("mamba", ("ssm_state_size",)),
    "attention": ("attention", ()),
    "moe": (
        "moe",
        (
            "moe_intermediate_size",
            "num_experts_per_tok",
            "n_routed_experts",
            "moe_latent_size",
            "moe_shared_expert_intermediate_size",
        ),
    ),
    "dense": ("mlp", ("intermediate_size",)),
}
BLOCKWISE = tuple(name for _, names in BLOCKS.values() for name in names)


def block_config(config: Any, layer_idx: int) -> dict[str, Any]:
    """One layer."""
    block_type, names = BLOCKS[sub_block(config, layer_idx)]
    return {"block_type": block_type} | {name: config.layer_sizes(name)[layer_idx] for name in names}


def problems(config: Any) -> Iterator[str]:
    yield from empty_layers(config)
    yield from varying_sizes(config, allowed=BLOCKWISE)


def write_config(config: Any) -> dict[str, Any]:
    """NVIDIA's config.json, of a model whose layers differ in anything but KV heads."""
    refuse_inexpressible("nemotron_h_puzzle", problems(config))
    varying = [name for name in BLOCKWISE if isinstance(getattr(config, name), list)]
    fields = without(shared_fields(config, "nemotron_h_puzzle", "NemotronHPuzzleForCausalLM"), *varying)
    layers = ByLayer(config)
    blocks = [block_config(layers, layer_idx) for layer_idx in range(config.num_hidden_layers)]
    return {**fields, "block_configs": blocks, "num_hidden_layers": None}


class NemotronHPuzzleConfig(HeterogeneousNemotronHConfig):  # type: ignore[misc]
    """Reads the config of a published `nemotron_h_puzzle` checkpoint; what it returns is a [`HeterogeneousNemotronHConfig`]."""

    model_type = "nemotron_h_puzzle"

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs: Any) -> Any:
        require_blocks("nemotron_h_puzzle", config_dict)
        return HeterogeneousNemotronHConfig.from_dict(config_dict, **kwargs)


FORMAT = PublishedFormat(
    name="nemotron_h_puzzle",
    looks_like='model_type "nemotron_h_puzzle"',
    recognises=lambda config: config.get("model_type") == "nemotron_h_puzzle",
    family=FAMILY,
    config_class=NemotronHPuzzleConfig,
    readers={"block_configs": nemotron_h_blocks.read},
    names={"backbone.": "model."},
    written_names={},
    write_config=write_config,
)
