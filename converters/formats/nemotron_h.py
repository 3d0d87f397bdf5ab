"""
NVIDIA's `nemotron_h`, every generation: Nemotron-H, Nano v2, Nemotron 3 Nano, Super and Ultra.

Tensor names begin with `backbone.` on the hub and with `model.` where transformers saved them.
"""

from collections.abc import Iterator
from typing import Any

from ..families.heterogeneous_nemotron_h import FAMILY
from .expression import refuse_inexpressible, shared_fields, varying_sizes
from .published_format import PublishedFormat


# What a layer is made of -> transformers' word for it; there is none for a layer with nothing in it
BLOCK_TYPES = {"mamba": "linear_attention", "attention": "full_attention", "moe": "moe", "dense": "mlp", "none": "mlp"}


def sub_block(config: Any, layer_idx: int) -> str:
    """The one thing that a layer is made of."""
    mixer = config.mixer_types[layer_idx]
    return str(config.mlp_types[layer_idx] if mixer == "none" else mixer)


def parent_fields(config: Any) -> dict[str, Any]:
    """The fields that are Nemotron-H's too. A layer with nothing in it is called an MLP, for others to leave out."""
    block_types = [BLOCK_TYPES[sub_block(config, idx)] for idx in range(config.num_hidden_layers)]
    return {**shared_fields(config, "nemotron_h", "NemotronHForCausalLM"), "layers_block_type": block_types}


def empty_layers(config: Any) -> Iterator[str]:
    """Layers with nothing in them, which the published configs have no word for."""
    for layer_idx in range(config.num_hidden_layers):
        if sub_block(config, layer_idx) == "none":
            yield f"layer {layer_idx} has nothing in it: every layer needs a sub-block"


def problems(config: Any) -> Iterator[str]:
    yield from empty_layers(config)
    yield from varying_sizes(config)


def write_config(config: Any) -> dict[str, Any]:
    """The config.json of Nemotron-H, of a model whose layers of one kind are all alike."""
    refuse_inexpressible("nemotron_h", problems(config))
    return parent_fields(config)


FORMAT = PublishedFormat(
    name="nemotron_h",
    looks_like='model_type "nemotron_h"',
    recognises=lambda config: config.get("model_type") == "nemotron_h",
    family=FAMILY,
    names={"backbone.": "model."},
    write_config=write_config,
)
