"""
NVIDIA's `nemotron-nas`: Llama-Nemotron Super 49B, Ultra 253B, 51B.

Layers are described by `block_configs`, in three dialects that the family's config reads. Tensor names are Llama's; a
sub-block that is a no-op has no tensors.
"""

from collections.abc import Mapping
from typing import Any

from .family import PublishedFormat
from .heterogeneous_llama import FAMILY


def recognises(config: Mapping[str, Any]) -> bool:
    """By its model type; the first uploads had none."""
    untyped = config.get("model_type") is None and config.get("architectures") == ["DeciLMForCausalLM"]
    return config.get("model_type") == "nemotron-nas" or (untyped and "block_configs" in config)


FORMAT = PublishedFormat(
    name="nemotron-nas",
    looks_like='model_type "nemotron-nas", or none with block_configs and the architecture DeciLMForCausalLM',
    recognises=recognises,
    family=FAMILY,
    dropped={"*.rotary_emb.inv_freq": "buffer of rotary embeddings, computed from the config"},
)
