"""The families in vLLM, which calls `register` in each of its processes: entry point `vllm.general_plugins`.

`llama.py` and the others beside it build vLLM's own modules layer by layer, from `config.per_layer_config[i]`;
`limits.py` says what vLLM would not compute as transformers does, and is refused. Nothing here is imported but by vLLM.
"""

__all__ = ["register"]

# What config.json calls a model -> the module beside this one that has the class
ARCHITECTURES = {
    "HeterogeneousGptOssForCausalLM": "gpt_oss",
    "HeterogeneousGraniteMoeHybridForCausalLM": "granite_moe_hybrid",
    "HeterogeneousLlamaForCausalLM": "llama",
    "HeterogeneousNemotronHForCausalLM": "nemotron_h",
}


def register() -> None:
    """Tell vLLM about the families; calling it again changes nothing. The configs are registered by importing the package."""
    from vllm.model_executor.models import ModelRegistry
    from vllm.model_executor.models.config import MODELS_CONFIG_MAP

    from .verification import VERIFICATIONS

    for name, module in ARCHITECTURES.items():
        if name not in ModelRegistry.get_supported_archs():
            ModelRegistry.register_model(name, f"{__name__}.{module}:{name}")
        MODELS_CONFIG_MAP[name] = VERIFICATIONS[name]
