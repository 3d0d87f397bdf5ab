from torch import nn

from transformers.models.vit.configuration_vit import ViTConfig
from transformers.models.vit.modeling_vit import ViTForImageClassification, ViTMLP


class SoftVitConfig(ViTConfig):
    softness: float = 0.5


class SoftVitMLP(ViTMLP):
    """An MLP whose second matrix is wrapped, and whose first one is called otherwise."""

    def __init__(self, config):
        super().__init__(config)
        self.softness = config.softness
        self.fc2 = nn.Sequential(self.fc2, nn.Softplus())
        self.first = self.fc1
        del self.fc1

    def forward(self, hidden_states):
        return self.softness * self.fc2(self.activation_fn(self.first(hidden_states)))


class SoftVitForImageClassification(ViTForImageClassification):
    pass


__all__ = ["SoftVitConfig", "SoftVitForImageClassification"]
