from torch import nn

from transformers.models.mixtral.configuration_mixtral import MixtralConfig
from transformers.models.mixtral.modeling_mixtral import MixtralForCausalLM, MixtralSparseMoeBlock


class SharedMixConfig(MixtralConfig):
    pass


class SharedMixSparseMoeBlock(MixtralSparseMoeBlock):
    """Experts beside a matrix that every token passes through."""

    def __init__(self, config):
        super().__init__(config)
        self.shared = nn.Linear(config.hidden_size, config.hidden_size, bias=False)

    def forward(self, hidden_states):
        return self.shared(hidden_states) + super().forward(hidden_states)


class SharedMixForCausalLM(MixtralForCausalLM):
    pass


__all__ = ["SharedMixConfig", "SharedMixForCausalLM"]
