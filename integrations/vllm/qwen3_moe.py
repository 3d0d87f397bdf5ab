"""`heterogeneous_qwen3_moe` of `heterogeneous_qwen3` and the experts of vLLM's Qwen3-MoE."""

from vllm.config import VllmConfig
from vllm.model_executor.models.qwen3_moe import Qwen3MoeModel, Qwen3MoeSparseMoeBlock

from .layer_building import with_config
from .llama import HeterogeneousLlamaForCausalLM
from .qwen3 import HeterogeneousQwen3DecoderLayer


class HeterogeneousQwen3MoeDecoderLayer(HeterogeneousQwen3DecoderLayer):
    def __init__(self, vllm_config: VllmConfig, prefix: str = "") -> None:
        super().__init__(vllm_config, prefix)
        layer_idx = int(prefix.rpartition(".")[2])
        config = vllm_config.model_config.hf_config
        if config.mlp_types[layer_idx] == "moe":
            of_layer = with_config(vllm_config, config.per_layer_config[layer_idx])
            self.mlp = Qwen3MoeSparseMoeBlock(of_layer, prefix=f"{prefix}.mlp")


class HeterogeneousQwen3MoeForCausalLM(HeterogeneousLlamaForCausalLM):
    layer_type = HeterogeneousQwen3MoeDecoderLayer
    hf_to_vllm_mapper = Qwen3MoeModel.hf_to_vllm_mapper

    def __init__(self, *, vllm_config: VllmConfig, prefix: str = "") -> None:
        super().__init__(vllm_config=vllm_config, prefix=prefix)
        self.model.hf_to_vllm_mapper = self.hf_to_vllm_mapper  # Llama's would fuse the projections of experts too
