from transformers.models.wav2vec2.configuration_wav2vec2 import Wav2Vec2Config
from transformers.models.wav2vec2.modeling_wav2vec2 import Wav2Vec2FeedForward, Wav2Vec2Model


class QuickWaveConfig(Wav2Vec2Config):
    pass


class QuickWaveFeedForward(Wav2Vec2FeedForward):
    def __init__(self, config):
        super().__init__(config)
        del self.output_dropout

    def forward(self, hidden_states):
        hidden_states = self.intermediate_act_fn(self.intermediate_dense(hidden_states))
        return self.output_dense(hidden_states)


class QuickWaveModel(Wav2Vec2Model):
    pass


__all__ = ["QuickWaveConfig", "QuickWaveModel"]
