"""
Deci's `deci`: DeciLM-6b, DeciLM-7B and their fine-tunes.

KV heads are listed in `num_key_value_heads_per_layer`. Tensor names are Llama's.
"""

from collections.abc import Mapping
from typing import Any

from .family import PublishedFormat
from .heterogeneous_llama import FAMILY


# Fine-tunes that transformers saved again say "llama" and a false `num_key_value_heads`; the first uploads say nothing
POSSIBLE_MODEL_TYPES = ("deci", "llama", None)


def recognises(config: Mapping[str, Any]) -> bool:
    """By its list of KV heads, whatever model type stands beside it."""
    listed = "num_key_value_heads_per_layer" in config and config.get("model_type") in POSSIBLE_MODEL_TYPES
    return listed or config.get("model_type") == "deci"


FORMAT = PublishedFormat(
    name="deci",
    looks_like='model_type "deci", "llama" or none with num_key_value_heads_per_layer',
    recognises=recognises,
    family=FAMILY,
    dropped={"*.rotary_emb.inv_freq": "buffer of rotary embeddings, computed from the config"},
)
