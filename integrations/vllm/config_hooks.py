"""What vLLM does with a config before a model is built, in the process that reads it."""

from dataclasses import replace
from typing import Any

from vllm.logger import init_logger
from vllm.model_executor.models.config import (
    GptOssForCausalLMConfig,
    NemotronHForCausalLMConfig,
    VerifyAndUpdateConfig,
)
from vllm.platforms import current_platform
from vllm.transformers_utils.model_arch_config_convertor import ModelArchConfigConvertorBase

from . import limits
from .views import with_fields


logger = init_logger(__name__)


class HeterogeneousConfigConvertor(ModelArchConfigConvertorBase):
    """Names the class that serves a config, by which vLLM finds it."""

    def __init__(self, hf_config: Any, hf_text_config: Any, revision: str | None = None) -> None:
        super().__init__(hf_config, hf_text_config, revision)
        served = [limits.architecture(hf_config)]
        if hf_config.architectures != served:  # the config of a layer has it already, and lets nothing be set
            hf_config.architectures = served


class HeterogeneousVerification(VerifyAndUpdateConfig):
    """Refuses what would be served wrongly."""

    @classmethod
    def verify_and_update_model_config(cls, model_config: Any) -> None:
        config = model_config.hf_config
        limits.refuse(config, limits.model_problems(config, model_config.max_model_len))
        if isinstance(config.windows, list):  # where all layers have a window, vLLM reads it as one number
            model_config.hf_text_config = with_fields(config, sliding_window=None)
        if "mamba" not in config.mixer_types:  # vLLM would prepare for states, going by the class and `layer_types`
            model_config._model_info = replace(model_config._model_info, is_hybrid=False)

    @classmethod
    def verify_and_update_config(cls, vllm_config: Any) -> None:
        config, cache_config = vllm_config.model_config.hf_config, vllm_config.cache_config
        adapters = vllm_config.lora_config is not None
        limits.refuse(config, limits.engine_problems(config, vllm_config.parallel_config, adapters))
        if current_platform.is_cpu() and "mamba" in config.mixer_types and cache_config.enable_prefix_caching:
            logger.warning("Prefix caching is off: vLLM's CPU backend fails with it in models with mamba layers.")
            cache_config.enable_prefix_caching = False


class GptOssVerification(HeterogeneousVerification):
    """The same, and experts in MXFP4, which vLLM knows by the model type."""

    @classmethod
    def verify_and_update_model_config(cls, model_config: Any) -> None:
        super().verify_and_update_model_config(model_config)
        GptOssForCausalLMConfig.verify_and_update_model_config(model_config)
        if quantised := model_config.model_arch_config.quantization_config:
            quantised["quant_method"] = "gpt_oss_mxfp4"


class NemotronHVerification(HeterogeneousVerification):
    """The same, and what vLLM sets for Nemotron-H: the dtype of mamba's states."""

    @classmethod
    def verify_and_update_config(cls, vllm_config: Any) -> None:
        super().verify_and_update_config(vllm_config)
        config = vllm_config.model_config.hf_config
        if "mamba" in config.mixer_types and config.time_step_min:
            logger.warning(
                "Time steps of mamba below time_step_min = %s are raised to it by transformers, and not by vLLM.",
                config.time_step_min,
            )
        NemotronHForCausalLMConfig.verify_and_update_config(vllm_config)


# Of the families that need more than every one does
VERIFICATIONS: dict[str, type[VerifyAndUpdateConfig]] = {
    "heterogeneous_gpt_oss": GptOssVerification,
    "heterogeneous_nemotron_h": NemotronHVerification,
}
