from torch import nn

from transformers.models.opt.configuration_opt import OPTConfig
from transformers.models.opt.modeling_opt import OPTDecoderLayer, OPTForCausalLM


class KeptOptConfig(OPTConfig):
    pass


class KeptOptDecoderLayer(OPTDecoderLayer):
    def __init__(self, config, layer_idx=None):
        super().__init__(config, layer_idx)
        self.fc1 = nn.Linear(config.hidden_size, config.ffn_dim)
        self.fc2 = nn.Linear(config.ffn_dim, config.hidden_size)
        self.activation_fn = nn.SiLU()


class KeptOptForCausalLM(OPTForCausalLM):
    pass


__all__ = ["KeptOptConfig", "KeptOptForCausalLM"]
