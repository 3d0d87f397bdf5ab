from transformers.models.clip.configuration_clip import CLIPConfig, CLIPTextConfig, CLIPVisionConfig
from transformers.models.clip.modeling_clip import CLIPMLP, CLIPModel


class DualLipTextConfig(CLIPTextConfig):
    pass


class DualLipVisionConfig(CLIPVisionConfig):
    pass


class DualLipConfig(CLIPConfig):
    pass


class DualLipMLP(CLIPMLP):
    def forward(self, hidden_states):
        residual = hidden_states
        hidden_states = super().forward(hidden_states)
        return residual * 0.1 + hidden_states


class DualLipModel(CLIPModel):
    pass


__all__ = ["DualLipConfig", "DualLipModel", "DualLipTextConfig", "DualLipVisionConfig"]
