from transformers.models.falcon_mamba.configuration_falcon_mamba import FalconMambaConfig
from transformers.models.falcon_mamba.modeling_falcon_mamba import FalconMambaBlock, FalconMambaModel


class LightFalconConfig(FalconMambaConfig):
    pass


class LightFalconBlock(FalconMambaBlock):
    def forward(self, hidden_states, cache=None, attention_mask=None, **kwargs):
        hidden_states = super().forward(hidden_states, cache, attention_mask, **kwargs)
        return hidden_states * 0.5


class LightFalconModel(FalconMambaModel):
    pass


__all__ = ["LightFalconConfig", "LightFalconModel"]
