"""`heterogeneous_mistral` of vLLM's Llama, whose layers Mistral's are."""

from .llama import HeterogeneousLlamaForCausalLM


class HeterogeneousMistralForCausalLM(HeterogeneousLlamaForCausalLM):
    pass
