from transformers.models.gpt2.configuration_gpt2 import GPT2Config
from transformers.models.gpt2.modeling_gpt2 import GPT2MLP, GPT2LMHeadModel


class LongGptConfig(GPT2Config):
    pass


class LongGptMLP(GPT2MLP):
    def __init__(self, intermediate_size, config):
        embed_dim = intermediate_size
        super().__init__(2 * intermediate_size, config)
        self.width = embed_dim


class LongGptLMHeadModel(GPT2LMHeadModel):
    pass


__all__ = ["LongGptConfig", "LongGptLMHeadModel"]
