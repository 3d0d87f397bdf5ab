from transformers.models.qwen2_moe.configuration_qwen2_moe import Qwen2MoeConfig
from transformers.models.qwen2_moe.modeling_qwen2_moe import Qwen2MoeForCausalLM, Qwen2MoeMLP


class NarrowMoeConfig(Qwen2MoeConfig):
    pass


class NarrowMoeMLP(Qwen2MoeMLP):
    def __init__(self, config, intermediate_size=None):
        width = intermediate_size or config.intermediate_size
        super().__init__(config, width // 2)


class NarrowMoeForCausalLM(Qwen2MoeForCausalLM):
    pass


__all__ = ["NarrowMoeConfig", "NarrowMoeForCausalLM"]
