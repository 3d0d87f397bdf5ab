from torch import nn

from transformers.models.siglip.configuration_siglip import SiglipVisionConfig
from transformers.models.siglip.modeling_siglip import SiglipMLP, SiglipVisionModel


class PlainSigVisionConfig(SiglipVisionConfig):
    pass


class PlainSigMLP(SiglipMLP):
    def __init__(self, config):
        super().__init__(config)
        self.fc1 = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)


class PlainSigVisionModel(SiglipVisionModel):
    pass


__all__ = ["PlainSigVisionConfig", "PlainSigVisionModel"]
