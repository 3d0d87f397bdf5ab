from torch import nn

from transformers.models.marian.configuration_marian import MarianConfig
from transformers.models.marian.modeling_marian import MarianEncoderLayer, MarianModel


class OwnMarianConfig(MarianConfig):
    pass


class OwnMarianEncoderLayer(MarianEncoderLayer):
    def __init__(self, config, layer_idx=None):
        if layer_idx is not None and layer_idx < 0:
            raise ValueError("layers count from 0")
        super().__init__(config, layer_idx)
        self.activation_fn, self.theirs = nn.ReLU(), self.activation_fn

    def forward(self, hidden_states, attention_mask, **kwargs):
        hidden_states = hidden_states + self.theirs(hidden_states)
        return super().forward(hidden_states, attention_mask, **kwargs)


class OwnMarianModel(MarianModel):
    pass


__all__ = ["OwnMarianConfig", "OwnMarianModel"]
