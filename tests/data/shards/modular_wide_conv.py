from transformers.models.convnext.configuration_convnext import ConvNextConfig
from transformers.models.convnext.modeling_convnext import ConvNextLayer, ConvNextModel


class WideConvConfig(ConvNextConfig):
    pass


class WideConvLayer(ConvNextLayer):
    def __init__(self, config, dim, drop_path=0.5):
        super().__init__(config, dim)
        self.rate = drop_path

    def forward(self, features):
        features = super().forward(features + 0.1)
        return features * (1 + self.rate)


class WideConvModel(ConvNextModel):
    pass


__all__ = ["WideConvConfig", "WideConvModel"]
