from torch import nn

from transformers.models.dinov2.configuration_dinov2 import Dinov2Config
from transformers.models.dinov2.modeling_dinov2 import Dinov2LayerScale, Dinov2Model


class ScaledDinoConfig(Dinov2Config):
    pass


class ScaledDinoLayerScale(Dinov2LayerScale):
    def __init__(self, config) -> None:
        super().__init__(config)
        self.lambda1 = nn.Parameter(self.lambda1.data * 0.25)

    def forward(self, hidden_state):
        scaled = super().forward(hidden_state)
        return scaled + 0.01


class ScaledDinoModel(Dinov2Model):
    pass


__all__ = ["ScaledDinoConfig", "ScaledDinoModel"]
