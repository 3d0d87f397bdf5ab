"""`heterogeneous_qwen2` of vLLM's Llama: queries, keys and values have biases."""

from typing import Any

from .llama import HeterogeneousLlamaDecoderLayer, HeterogeneousLlamaForCausalLM


class HeterogeneousQwen2DecoderLayer(HeterogeneousLlamaDecoderLayer):
    def biases(self, config: Any) -> tuple[bool, bool]:
        return True, False


class HeterogeneousQwen2ForCausalLM(HeterogeneousLlamaForCausalLM):
    layer_type = HeterogeneousQwen2DecoderLayer
