from transformers.models.t5.configuration_t5 import T5Config
from transformers.models.t5.modeling_t5 import T5DenseActDense, T5LayerFF, T5Model


class DryTfiveConfig(T5Config):
    pass


class DryTfiveDenseActDense(T5DenseActDense):
    def forward(self, hidden_states):
        f = super().forward
        return f(hidden_states) + f(-hidden_states)


class DryTfiveLayerFF(T5LayerFF):
    def forward(self, hidden_states):
        if hidden_states.shape[0] == 0:
            return hidden_states
        return super().forward(hidden_states)


class DryTfiveModel(T5Model):
    pass


__all__ = ["DryTfiveConfig", "DryTfiveModel"]
