"""The families in vLLM, which calls `register` in each of its processes: entry point `vllm.general_plugins`.

`llama.py` and the others beside it build vLLM's own modules layer by layer, from `config.per_layer_config[i]`;
`limits.py` says what vLLM would not compute as transformers does, and is refused when the config is read
(`config_hooks.py`). vLLM is imported by `register` and by what it registers, not by this package.
"""

from .limits import ARCHITECTURES, UnservedError


__all__ = ["UnservedError", "register"]


def register() -> None:
    """Tell vLLM about the families; calling it again changes nothing. The configs are registered by importing the package."""
    from vllm.model_executor.models import ModelRegistry
    from vllm.model_executor.models.config import MODELS_CONFIG_MAP
    from vllm.transformers_utils.model_arch_config_convertor import MODEL_ARCH_CONFIG_CONVERTORS

    from .config_hooks import VERIFICATIONS, HeterogeneousConfigConvertor, HeterogeneousVerification

    for model_type, name in ARCHITECTURES.items():
        if name not in ModelRegistry.get_supported_archs():
            ModelRegistry.register_model(name, f"{__name__}.{model_type.removeprefix('heterogeneous_')}:{name}")
        MODELS_CONFIG_MAP[name] = VERIFICATIONS.get(model_type, HeterogeneousVerification)
        MODEL_ARCH_CONFIG_CONVERTORS[model_type] = HeterogeneousConfigConvertor
