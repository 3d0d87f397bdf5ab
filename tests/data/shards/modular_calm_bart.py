from torch import nn

from transformers.models.bart.configuration_bart import BartConfig
from transformers.models.bart.modeling_bart import BartEncoderLayer, BartModel


class CalmBartConfig(BartConfig):
    pass


class CalmBartEncoderLayer(BartEncoderLayer):
    def __init__(self, config, layer_idx=None):
        super().__init__(config)
        self.activation_fn = nn.Tanh()
        self.layer_idx = layer_idx

    def forward(self, hidden_states, attention_mask, **kwargs):
        residual = 0.5 * hidden_states
        hidden_states = super().forward(hidden_states, attention_mask, **kwargs)
        return hidden_states + residual


class CalmBartModel(BartModel):
    pass


__all__ = ["CalmBartConfig", "CalmBartModel"]
