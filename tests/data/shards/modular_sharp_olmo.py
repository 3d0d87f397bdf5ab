from transformers.models.olmo2.configuration_olmo2 import Olmo2Config
from transformers.models.olmo2.modeling_olmo2 import Olmo2Attention, Olmo2ForCausalLM


class SharpOlmoConfig(Olmo2Config):
    sharpness: float = 2.0


class SharpOlmoAttention(Olmo2Attention):
    def __init__(self, config, layer_idx=None):
        super().__init__(config, layer_idx)
        self.scaling = self.scaling * config.sharpness


class SharpOlmoForCausalLM(Olmo2ForCausalLM):
    pass


__all__ = ["SharpOlmoConfig", "SharpOlmoForCausalLM"]
