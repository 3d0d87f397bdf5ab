from transformers.models.whisper.configuration_whisper import WhisperConfig
from transformers.models.whisper.modeling_whisper import WhisperEncoderLayer, WhisperModel


class LoudWhisperConfig(WhisperConfig):
    loudness: float = 1.5


class LoudWhisperEncoderLayer(WhisperEncoderLayer):
    def __init__(self, config):
        super().__init__(config)
        self.loudness = config.loudness

    def forward(self, hidden_states, attention_mask, **kwargs):
        hidden_states = self.loudness * hidden_states
        return super().forward(hidden_states, attention_mask, **kwargs)


class LoudWhisperModel(WhisperModel):
    pass


__all__ = ["LoudWhisperConfig", "LoudWhisperModel"]
