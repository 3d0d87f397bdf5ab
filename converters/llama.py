"""
Checkpoints that say `llama`: Meta's own layout, whose layers are all alike, and Puzzletron's AnyModel, which describes
them in `block_configs`, or transformers' in `per_layer_config`, under the same model type.
"""

from .family import PublishedFormat
from .heterogeneous_llama import FAMILY


FORMAT = PublishedFormat(
    name="llama",
    looks_like='model_type "llama", with or without block_configs or per_layer_config',
    recognises=lambda config: config.get("model_type") == "llama",
    family=FAMILY,
    dropped={"*.rotary_emb.inv_freq": "buffer of rotary embeddings, computed from the config"},
)
